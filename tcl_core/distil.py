"""Teach a small text tower what a larger one says: tokenizer, loss, training, agreement."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from rich.progress import track
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn

from tcl_core.encoder import normalize
from tcl_core.tiny import PAD_ID, UNKNOWN_ID, TinyTextEncoder


@dataclass(frozen=True)
class StudentConfig:
    """Training of the text tower."""

    steps: int = 3000
    batch_size: int = 384
    learning_rate: float = 2e-3
    num_pairs: int = 14000  # adjective-noun phrases
    num_nouns: int | None = None  # None: all of WordNet's visible nouns
    num_held_out: int = 2000  # phrases never trained on, for the report
    longest: int = 8  # tokens; longer phrases are rare names that make every batch wide
    lexicon_share: float = 0.3  # of every batch: the words of the lexicon are the ones people type


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


def _batches(
    tokens: Tensor, targets: Tensor, num_lexicon: int, config: StudentConfig
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw batches; the first `num_lexicon` rows make up a fixed share of each."""
    from_lexicon = int(config.batch_size * config.lexicon_share)
    short = (tokens != PAD_ID).sum(dim=1) <= config.longest
    num_lexicon = int(short[:num_lexicon].sum())
    tokens, targets = tokens[short, : config.longest], targets[short]
    for _ in range(config.steps):
        words = torch.randint(num_lexicon, (from_lexicon,))
        others = torch.randint(len(tokens), (config.batch_size - from_lexicon,))
        rows = torch.cat([words, others])
        chosen = tokens[rows]
        yield chosen[:, : int((chosen != PAD_ID).sum(dim=1).max())], targets[rows]


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Direction of each phrase plus the similarities among the phrases of a batch; (N,C) unit rows both."""
    direction = 1 - (student * teacher).sum(dim=1).mean()
    return direction + (student @ student.T - teacher @ teacher.T).square().mean() * 5


def train_student(
    encoder: TinyTextEncoder, table: Tensor, tokens: Tensor, targets: Tensor, num_lexicon: int, config: StudentConfig
) -> None:
    """Distil the teacher into the text tower.

    Args:
        encoder: trained in place.
        table: float (V,D), where the token table starts.
        tokens: int64 (M,L); the first `num_lexicon` rows are the lexicon's.
        targets: float (M,C), unit rows.
        num_lexicon: see `tokens`.
        config: length and rate of the training.
    """
    embedding = nn.Embedding(table.shape[0], table.shape[1], _weight=table)
    parameters = [*encoder.parameters(), *embedding.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    batches = _batches(tokens, targets, num_lexicon, config)
    for batch, target in track(batches, total=config.steps, description="Student"):
        embedded = normalize(encoder.encode(embedding(batch), batch == PAD_ID), dim=1)
        loss = distillation_loss(embedded, target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    encoder.quantize(embedding.weight.detach())


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
