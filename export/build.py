"""The whole export: trace -> precision -> compare with PyTorch -> words -> bundle."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch

from export.graph import SegmenterGraph
from export.parity import TOLERANCES, ParityError, compare, compare_text, require, smooth_noise
from export.precision import half_arithmetic, half_storage
from export.subject import Subject
from export.to_onnx import OPSET, Signature, to_onnx
from runtime.bundle import (
    SCHEMA_VERSION,
    Bundle,
    GraphSpec,
    InputSpec,
    Manifest,
    OutputSpec,
    ParityRecord,
    SourceRecord,
    check_replaceable,
    file_records,
    write_bundle,
)
from runtime.engine import OnnxRuntimeEngine
from runtime.text_encoder import TextTower
from runtime.vocabulary import Embeddings, Vocabulary, parse_classes

Precision = Literal["fp32", "fp16"]

TEXT_TOLERANCE = 1e-4
"""Largest difference of a component of a unit text embedding."""


@dataclass(frozen=True)
class Options:
    """How to export.

    Attributes:
        precision: of the segmenter's arithmetic.
        weights: how weights are stored; fp16 halves the file and costs no time.
        text_encoder: put the text encoder into the bundle, so that words can change on the device.
    """

    precision: Precision = "fp32"
    weights: Precision = "fp32"
    text_encoder: bool = True


@dataclass(frozen=True)
class _Graph:
    data: bytes
    spec: GraphSpec


def export_bundle(
    subject: Subject,
    classes: str | Iterable[str] | None,
    output: Path,
    options: Options,
    *,
    overwrite: bool = False,
    stage: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Export a model with its words.

    Args:
        subject: the model.
        classes: as in `runtime.vocabulary.parse_classes`; None for the subject's own.
        output: the bundle's directory.
        options: how.
        overwrite: replace a bundle that is there already.
        stage: told what begins.

    Raises:
        ParityError: an exported graph differs from PyTorch. Nothing is written.
        VocabularyError: the words cannot be segmented. Nothing is written.
        BundleError: `output` cannot be written.
    """
    check_replaceable(output, overwrite=overwrite)
    words = parse_classes(subject.classes if classes is None else classes)
    stage("tracing the text encoder")
    text_graph = _text_graph(subject)
    stage("encoding the words")
    tower = TextTower(subject.tokenizer, subject.text, text_graph.data, text_graph.spec)
    vocabulary = Vocabulary.build(words, tower)
    _compare_text(subject, tower, vocabulary)
    stage("tracing the segmenter")
    segmenter = _segmenter_graph(subject, options)
    stage("comparing with PyTorch")
    parity = _compare(subject, segmenter, vocabulary.embeddings, options)
    stage("writing the bundle")
    files = {
        "segmenter.onnx": segmenter.data,
        "vocabularies/default.safetensors": vocabulary.to_bytes(),
        "MODEL_CARD.md": subject.model_card,
    }
    if options.text_encoder:
        files |= {"text_encoder.onnx": text_graph.data, subject.text.tokenizer: subject.tokenizer}
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=output.stem,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        licence=subject.licence,
        source=SourceRecord(model=subject.name, checkpoint_sha256=subject.checkpoint_sha256),
        input=_input_spec(subject),
        segmenter=segmenter.spec,
        text_encoder=text_graph.spec if options.text_encoder else None,
        text=subject.text if options.text_encoder else None,
        output=OutputSpec(stride=_mask_stride(subject), channels=vocabulary.embeddings.shape[1]),
        background=subject.background,
        vocabulary="vocabularies/default.safetensors",
        parity=parity,
        files=file_records(files),
    )
    return write_bundle(output, manifest, files, overwrite=overwrite)


def _input_spec(subject: Subject) -> InputSpec:
    preprocess = subject.model.preprocess
    return InputSpec(
        size=preprocess.size,
        multiple_of=preprocess.multiple_of,
        mean=preprocess.mean,
        std=preprocess.std,
        interpolation=preprocess.interpolation,
        antialias=preprocess.antialias,
    )


def _mask_stride(subject: Subject) -> int:
    """Input pixels per cell of the soft masks: the encoder's stride, less what the decoder upsamples."""
    step = subject.model.preprocess.multiple_of
    with torch.inference_mode():
        dense = subject.model.dense_embeddings(torch.zeros(1, 3, step, step))
    return int(step // dense.shape[-1])


def _graph(model: onnx.ModelProto, file: str, precision: Precision, signature: Signature) -> _Graph:
    spec = GraphSpec(
        file=file, precision=precision, opset=OPSET, inputs=dict(signature.inputs), outputs=dict(signature.outputs)
    )
    return _Graph(model.SerializeToString(), spec)


def _segmenter_graph(subject: Subject, options: Options) -> _Graph:
    step, channels = subject.model.preprocess.multiple_of, subject.model.image_encoder.embed_dim
    signature = Signature(
        {"image": ("batch", 3, "height", "width"), "text": ("words", channels)},
        {"masks": ("batch", "words", "mask_height", "mask_width")},
    )
    sample = torch.rand(2, 3, 8 * step, 10 * step), torch.rand(3, channels)
    model = to_onnx(SegmenterGraph(subject.model), sample, signature)
    if options.precision == "fp16":
        model = half_arithmetic(model)
    elif options.weights == "fp16":
        model = half_storage(model)
    return _graph(model, "segmenter.onnx", options.precision, signature)


def _text_graph(subject: Subject) -> _Graph:
    signature = Signature({"tokens": ("words", "length")}, {"text": ("words", subject.model.text_encoder.embed_dim)})
    sample = torch.ones(3, 5, dtype=torch.int64)
    model = to_onnx(subject.model.text_encoder, (sample,), signature)
    return _graph(model, "text_encoder.onnx", "fp32", signature)


def _compare(subject: Subject, segmenter: _Graph, text: Embeddings, options: Options) -> tuple[ParityRecord, ...]:
    """Compare on other sizes, batches and word counts than were traced; raises ParityError."""
    step = subject.model.preprocess.multiple_of
    rare = np.random.default_rng(0).standard_normal((128, text.shape[1]), np.float32)
    rare /= np.linalg.norm(rare, axis=1, keepdims=True)
    cases = [
        ((7 * step, 13 * step), 1, text),
        ((12 * step, 12 * step), 1, text[:1]),
        ((step, 5 * step), 3, np.concatenate([text, rare])[:21]),
        ((9 * step, 6 * step), 2, rare),
    ]
    with OnnxRuntimeEngine(segmenter.data, segmenter.spec) as engine:
        records = tuple(
            compare(subject.model, engine, smooth_noise(size, batch, seed), np.ascontiguousarray(rows))
            for seed, (size, batch, rows) in enumerate(cases)
        )
    half = "fp16" in (options.precision, options.weights)
    require(records, TOLERANCES["fp16" if half else "fp32"])
    return records


def _compare_text(subject: Subject, tower: TextTower, vocabulary: Vocabulary) -> None:
    """Compare on every phrase of the vocabulary, one row and many rows at once."""
    tokens = tower.tokenizer(list(vocabulary.rows))
    for rows in (tokens, tokens[:1]):
        error = compare_text(subject.model, tower.engine, rows)
        if error > TEXT_TOLERANCE:
            raise ParityError(
                f"the text encoder differs from PyTorch by {error:.2g} on {len(rows)} rows (allowed {TEXT_TOLERANCE:g})"
            )
