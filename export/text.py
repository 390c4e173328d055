"""The text side of a bundle: text encoder, tokenizer, words, compared with PyTorch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import torch

from export.errors import ParityError, SubjectError
from export.float16 import half_storage
from export.options import Options
from export.stages import Stages, weights_key
from export.subject import Subject
from export.to_onnx import Signature, to_onnx
from runtime.bundle import BackgroundSpec, GraphSpec
from runtime.words.text_encoder import TextTower
from runtime.words.vocabulary import Vocabulary
from runtime.words.word_class import WordClass

FILE = "text_encoder.onnx"

TOLERANCES = {"fp32": 1e-4, "fp16": 5e-3}
"""Largest difference of a component of a text embedding, as a share of its length, by the storage of weights."""

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TextGraph:
    """A text encoder that passed, with its vocabulary.

    Attributes:
        data: the ONNX file.
        spec: for the manifest.
        vocabulary: of the bundle, with its default background.
    """

    data: bytes
    spec: GraphSpec
    vocabulary: Vocabulary


def export_text(subject: Subject, options: Options, words: tuple[WordClass, ...], stages: Stages) -> TextGraph:
    """Export the text encoder and encode the words with it.

    Raises:
        ParityError: tokens or embeddings differ from PyTorch's.
        VocabularyError: the words cannot be segmented.
    """
    encoder, length = subject.model.text_encoder, subject.token_length
    signature = Signature({"tokens": ("words", length or "length")}, {"text": ("words", encoder.embed_dim)})

    def make() -> bytes:
        sample = torch.ones(3, length or 5, dtype=torch.int64)
        data: bytes = to_onnx(encoder, (sample,), signature, options.opset).SerializeToString()
        return data

    key = [weights_key(encoder), str(signature), options.opset]
    data = stages.result("tracing the text encoder", key, make)
    stored = "fp16" if "fp16" in (options.precision, options.weights) else "fp32"
    if stored == "fp16":
        data = half_storage(onnx.load_from_string(data)).SerializeToString()
    spec = GraphSpec(
        file=FILE,
        precision="fp32",
        opset=options.opset,
        inputs=dict(signature.inputs),
        outputs=dict(signature.outputs),
    )
    stages.tell("encoding the words", "begins")
    tower = TextTower(subject.tokenizer, subject.text, data, spec)
    background = background_words(subject.background, words)
    compare_tokens(subject, tower, [*background, *(phrase for word in words for phrase in word.phrases)])
    vocabulary = Vocabulary.build(words, tower, background=background, threshold=subject.background.threshold)
    compare_text(subject, tower, list(vocabulary.rows), TOLERANCES[stored])
    return TextGraph(data, spec, vocabulary)


def background_words(background: BackgroundSpec, words: tuple[WordClass, ...]) -> tuple[str, ...]:
    """List the default background words that are no class."""
    phrases = {phrase.casefold() for word in words for phrase in word.phrases}
    return tuple(word for word in background.words if word.casefold() not in phrases)


def compare_tokens(subject: Subject, tower: TextTower, phrases: list[str]) -> None:
    """Compare the tokens of every phrase in every template with those of the model's own tokenizer.

    Raises:
        SubjectError: the model's own tokenizer makes tokens that the model does not have.
        ParityError: they differ.
    """
    prompts = _prompts(subject, phrases)
    tokens = tower.tokenizer(prompts)
    try:
        own = subject.model.text_encoder.tokenize(prompts).numpy()
    except ValueError as error:
        raise SubjectError(f"{subject.name} cannot read words: {error}") from error
    read, expected = _same_length(tokens, own, subject.text.pad_id)
    if (different := (read != expected).any(axis=1)).any():
        raise ParityError(
            f"the tokenizer's file reads {prompts[int(different.argmax())]!r} as other tokens than the model's own "
            "tokenizer: leave that word out, and report it"
        )


def compare_text(subject: Subject, tower: TextTower, phrases: list[str], tolerance: float) -> None:
    """Compare the embeddings of phrases, many rows at once and one alone.

    Raises:
        ParityError: they differ.
    """
    tokens = tower.tokenizer(_prompts(subject, phrases)[:64])
    for rows in (tokens, tokens[:1]):
        error = embedding_error(subject, tower, rows)
        if not error <= tolerance:
            raise ParityError(
                f"the text encoder differs from PyTorch by {error:.2g} on {len(rows)} rows (allowed {tolerance:g})"
            )


def _prompts(subject: Subject, phrases: list[str]) -> list[str]:
    return [template.format(phrase) for phrase in phrases for template in subject.text.templates]


def _same_length(a: Tokens, b: Tokens, pad_id: int) -> tuple[Tokens, Tokens]:
    length = max(a.shape[1], b.shape[1])
    padded = [np.pad(rows, ((0, 0), (0, length - rows.shape[1])), constant_values=pad_id) for rows in (a, b)]
    return padded[0], padded[1]


def embedding_error(subject: Subject, tower: TextTower, tokens: Tokens) -> float:
    """Return the largest difference between PyTorch and ONNX, relative to the length of an embedding."""
    with torch.inference_mode():
        expected = subject.model.encode_text(torch.from_numpy(tokens)).numpy()
    given = tower.engine.infer({"tokens": tokens})["text"]
    return float((np.abs(given - expected) / np.linalg.norm(expected, axis=1, keepdims=True)).max())
