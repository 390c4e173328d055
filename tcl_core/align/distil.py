"""Teach a small text tower what a larger one says: tokenizer, loss, training, agreement."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rich.progress import track
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn

from tcl_core.align.text_teacher import Teacher
from tcl_core.encoder import normalize
from tcl_core.tiny.towers import PAD_ID, UNKNOWN_ID, LexiconHead, TinyTextEncoder


@dataclass(frozen=True)
class StudentConfig:
    """Training of the text tower."""

    steps: int = 1000
    batch_size: int = 384
    learning_rate: float = 2e-3
    longest: int = 8  # tokens; longer phrases are rare names that make every batch wide
    lexicon_weight: float = 0.3  # of the divergence between student's and teacher's weights of the lexicon's words


@dataclass(frozen=True)
class Course:
    """A lesson in tokens.

    Attributes:
        tokens: int64 (N,L), padded with 0.
        sentences: int64 (N,), the row of what the teacher reads.
        share: of every batch.
    """

    tokens: Tensor
    sentences: Tensor
    share: float

    def shortened(self, longest: int) -> "Course":
        """Leave out what has more tokens than `longest`."""
        short = (self.tokens != PAD_ID).sum(dim=1) <= longest
        return Course(self.tokens[short, :longest], self.sentences[short], self.share)


def build_tokenizer(pieces: list[str], context_length: int) -> Tokenizer:
    """WordPiece over lower-case Latin letters: [PAD] = 0, [UNK] = 1, then `pieces` in order."""
    vocabulary = {"[PAD]": PAD_ID, "[UNK]": UNKNOWN_ID}
    for piece in pieces:
        vocabulary.setdefault(piece, len(vocabulary))
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(pad_id=PAD_ID, pad_token="[PAD]")
    return tokenizer


def readable(piece: str) -> bool:
    """Tell whether a piece of the teacher's vocabulary is kept: ASCII, and no special token."""
    return piece.isascii() and not (piece.startswith("[") and len(piece) > 1)


def _batches(courses: list[Course], config: StudentConfig) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw batches: tokens, no wider than they must be, and rows of sentences."""
    courses = [course.shortened(config.longest) for course in courses]
    whole = sum(course.share for course in courses)
    counts = [round(config.batch_size * course.share / whole) for course in courses]
    for _ in range(config.steps):
        rows = [torch.randint(len(c.tokens), (count,)) for c, count in zip(courses, counts, strict=True)]
        # Tokenized apart, lessons differ in width; `shortened` cannot widen them.
        width = max(int((c.tokens[r] != PAD_ID).sum(dim=1).max()) for c, r in zip(courses, rows, strict=True) if len(r))
        tokens = [_to_width(c.tokens[r], width) for c, r in zip(courses, rows, strict=True)]
        yield torch.cat(tokens), torch.cat([c.sentences[r] for c, r in zip(courses, rows, strict=True)])


def _to_width(tokens: Tensor, width: int) -> Tensor:
    return F.pad(tokens, (0, width - tokens.shape[1]), value=PAD_ID)  # a negative pad cuts padding off


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Direction of each phrase plus the similarities among the phrases of a batch; (N,C) unit rows both."""
    direction = 1 - (student * teacher).sum(dim=1).mean()
    return direction + (student @ student.T - teacher @ teacher.T).square().mean() * 5


def lexicon_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student's weights of the words from the teacher's; (N,M) logits both."""
    return F.kl_div(student.log_softmax(dim=1), teacher.log_softmax(dim=1), reduction="batchmean", log_target=True)


class _Learner(nn.Module):
    """The text tower with everything that will be rounded to int8 still in float."""

    def __init__(self, encoder: TinyTextEncoder, table: Tensor, teacher: Teacher) -> None:
        super().__init__()
        self.encoder, self.temperature = encoder, teacher.temperature
        self.table = nn.Embedding(table.shape[0], table.shape[1], _weight=table)
        self.keys = None
        if isinstance(encoder.head, LexiconHead):
            encoder.head.set_values(teacher.values)
            self.keys = nn.Parameter(principal(teacher.keys, encoder.head.query.out_features))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embed tokens (N,L) as (N,C), not normalised; with a lexicon, also its logits (N,M)."""
        pooled: Tensor = self.encoder.pooled(self.table(tokens), tokens == PAD_ID)
        head = self.encoder.head
        if not isinstance(head, LexiconHead) or self.keys is None:
            return head(pooled), None
        scores = head.scores(pooled, self.keys / self.temperature)
        return head.mix(scores), scores

    def finish(self) -> None:
        """Round to int8, into the encoder."""
        self.encoder.quantize(self.table.weight.detach())
        if isinstance(self.encoder.head, LexiconHead) and self.keys is not None:
            self.encoder.head.set_keys(self.keys.detach() / self.temperature)


def train_student(
    encoder: TinyTextEncoder, table: Tensor, courses: list[Course], sentences: Tensor, teacher: Teacher,
    config: StudentConfig,
) -> None:  # fmt: skip
    """Distil the teacher into the text tower.

    Args:
        encoder: trained in place.
        table: float (V,D), where the token table starts.
        courses: what is taught.
        sentences: float (S,E), what the teacher sees of the phrases.
        teacher: of the same lexicon as the encoder's head, if that has one.
        config: length and rate of the training.
    """
    learner = _Learner(encoder, table, teacher)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=config.learning_rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    for tokens, rows in track(_batches(courses, config), total=config.steps, description="Student"):
        wanted = teacher.scores(sentences[rows])
        embedded, scores = learner(tokens)
        loss = distillation_loss(normalize(embedded, dim=1), teacher.mix(wanted))
        if scores is not None:
            loss = loss + config.lexicon_weight * lexicon_loss(scores, wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    learner.finish()


def principal(rows: Tensor, dim: int) -> Tensor:
    """Project rows (N,E) onto their `dim` principal directions: (N,dim). The mean is not subtracted."""
    _, _, axes = torch.linalg.svd(rows, full_matrices=False)
    projected: Tensor = rows @ axes[:dim].T
    return projected


def _ranks(values: Tensor) -> Tensor:
    return values.argsort().argsort().double()


def agreement(student: Tensor, teacher: Tensor) -> dict[str, float]:
    """Compare embeddings (N,C) of the same phrases, unit rows: cosine, rank correlation of similarities, retrieval."""
    above = torch.triu_indices(len(teacher), len(teacher), offset=1)
    pairs = [(x @ x.T)[above[0], above[1]] for x in (student, teacher)]
    correlation = torch.corrcoef(torch.stack([_ranks(values) for values in pairs]))[0, 1]
    nearest = (student @ teacher.T).argmax(dim=1)
    return {
        "mean cosine": float((student * teacher).sum(dim=1).mean()),
        "rank correlation of similarities": float(correlation),
        "top-1 retrieval": float((nearest == torch.arange(len(teacher))).float().mean()),
    }


def nearness(student: Tensor, meanings: Tensor, same: Tensor) -> dict[str, float]:
    """Compare forms with what they mean, by the student alone.

    Args:
        student: forms, "red banana": (N,C), unit rows.
        meanings: what each means, "banana": (N,C), unit rows.
        same: bool (N,N), true where two meanings are the same words.

    Returns:
        The mean cosine, and how often no other meaning is nearer than the right one.
    """
    similarity = student @ meanings.T
    right = similarity.diagonal()
    others = similarity.masked_fill(same, -2)
    return {
        "cosine with its meaning": float(right.mean()),
        "its meaning is nearest": float((right >= others.amax(dim=1)).float().mean()),
    }
