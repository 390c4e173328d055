"""The segmenter graph of a bundle: traced, in its precision, compared with PyTorch."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from export.errors import ParityError, PrecisionError
from export.float16 import half_arithmetic, half_storage
from export.graph import FoldedGraph, SegmenterGraph
from export.intermediates import Arrays, worst_tensors
from export.operations import count_in_graph, count_in_pytorch
from export.options import Options, default_side, input_size
from export.parity import TOLERANCES, Case, Tolerance, cases, compare, failures, label_agreement, rare_words
from export.pictures import Calibration, as_input, folder_pictures, shipped_pictures
from export.quantization import Agreement, Judge, Quantizer, int8_arithmetic, quantized
from export.rewrite import PARTS, rewritten
from export.stages import Stages, weights_key
from export.subject import Subject
from export.to_onnx import Signature, to_onnx, trace
from runtime.bundle import GraphSpec, InputSpec, OperationsRecord, ParityRecord
from runtime.engines.folded import FoldedWords
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.frame import BGR
from runtime.words.vocabulary import Embeddings

FILE = "segmenter.onnx"
NUM_WORDS = 128
"""The largest number of words compared."""

KEPT = "tcl_edge.kept_fp32"
"""Where a graph of lower precision says what it computes in float32."""

SHARE = "tcl_edge.int8_share"
"""Where a graph in int8 says which share of the multiply-adds that is."""

MARGIN = 0.02
"""Labels that int8 must keep beyond what the gate asks for, which judges other pictures."""

ROUGH, THOROUGH = 3, 8
"""Pictures that tell the harm of one operator, and of a choice."""


@dataclass(frozen=True)
class Segmenter:
    """A graph that passed.

    Attributes:
        data: the ONNX file.
        spec: for the manifest.
        parity: the comparisons.
        operations: before and after rewriting.
    """

    data: bytes
    spec: GraphSpec
    parity: tuple[ParityRecord, ...]
    operations: OperationsRecord


class SegmenterExport:
    """Exports the segmenter of a subject.

    Args:
        subject: the model.
        options: checked.
        text: unit rows (M,C) of the bundle's words; they are part of the graph if the words are folded in.
        stages: keeps results.
    """

    def __init__(self, subject: Subject, options: Options, text: Embeddings, stages: Stages) -> None:
        self._subject, self._options, self._stages = subject, options, stages
        self._words = text
        self._size = input_size(options, subject)
        self._folded = torch.from_numpy(text) if options.fold_text else None
        self._reference = SegmenterGraph(subject.model, options.kp_weight).eval()

    @property
    def input_spec(self) -> InputSpec:
        """How frames become the graph's input."""
        p = self._subject.model.preprocess
        return InputSpec(
            size=self._size or default_side(self._options, self._subject),
            multiple_of=p.multiple_of,
            mean=p.mean,
            std=p.std,
            interpolation=p.interpolation,
            antialias=p.antialias,
        )

    def run(self) -> Segmenter:
        """Trace, convert, count and compare.

        Raises:
            ParityError: the graph differs from PyTorch.
            PrecisionError: it does in the precision asked for, whatever is kept in float32.
        """
        plain = self._traced()
        operations = self._operations(plain)
        self._stages.tell("running PyTorch on real pictures", "begins")
        compared = self._cases()
        data = self._in_precision(plain, compared)
        model = onnx.load_from_string(data)
        spec = self._spec(model)
        self._stages.tell("comparing with PyTorch", "begins")
        parity = self._compare(data, spec, compared)
        share = next((float(json.loads(entry.value)) for entry in model.metadata_props if entry.key == SHARE), None)
        return Segmenter(data, spec, parity, operations.model_copy(update={"int8_share": share}))

    # Tracing

    @cached_property
    def _signature(self) -> Signature:
        height, width = self._size or ("height", "width")
        mask: tuple[str | int, ...] = ("mask_height", "mask_width")
        if self._folded is not None:
            return Signature({"image": (1, 3, height, width)}, {"masks": (1, len(self._folded), *mask)})
        channels = self._subject.model.image_encoder.embed_dim
        return Signature(
            {"image": ("batch", 3, height, width), "text": ("words", channels)}, {"masks": ("batch", "words", *mask)}
        )

    @cached_property
    def _graph(self) -> nn.Module:
        model = rewritten(self._subject.model, PARTS[self._options.rewriting], self._size)
        graph = SegmenterGraph(model, self._options.kp_weight)
        return graph if self._folded is None else FoldedGraph(graph, self._folded)

    @property
    def _sample(self) -> tuple[Tensor, ...]:
        step = self._subject.model.preprocess.multiple_of
        image = torch.rand(1 if self._folded is not None else 2, 3, *(self._size or (8 * step, 10 * step)))
        if self._folded is not None:
            return (image,)
        return image, torch.rand(3, self._subject.model.image_encoder.embed_dim)

    def _traced(self) -> bytes:
        words = None if self._folded is None else hashlib.sha256(self._words.tobytes()).hexdigest()
        key = [
            weights_key(self._reference.model.image_encoder),
            weights_key(self._reference.model.grounder),
            *(self._options.rewriting, self._options.kp_weight, self._options.opset, self._size, words),
            str(self._signature),
        ]

        def make() -> bytes:
            data: bytes = to_onnx(self._graph, self._sample, self._signature, self._options.opset).SerializeToString()
            return data

        return self._stages.result("tracing the segmenter", key, make)

    def _operations(self, plain: bytes) -> OperationsRecord:
        side = default_side(self._options, self._subject)
        size = self._size or (side, side)
        channels = self._subject.model.image_encoder.embed_dim
        image, text = np.zeros((1, 3, *size), np.float32), rare_words(1, channels)
        if self._folded is not None:
            text = self._words
        inputs = self._inputs(image, text)

        def make() -> bytes:
            model = onnx.load_from_string(plain)
            before = count_in_pytorch(self._reference, ((1, 3, *size), text.shape))
            return json.dumps([before, count_in_graph(model, inputs)]).encode()

        key = [hashlib.sha256(plain).hexdigest(), size]
        before, after = json.loads(self._stages.result("counting operations", key, make))
        return OperationsRecord(size=size, plain=before / 1e9, exported=after / 1e9)

    # Precision

    def _in_precision(self, plain: bytes, compared: Sequence[Case]) -> bytes:
        key: list[object] = [hashlib.sha256(plain).hexdigest(), str(self._tolerance)]
        key.append([self._digest(case) for case in compared])
        if self._options.precision == "fp16":
            make = lambda: self._half(plain, compared).SerializeToString()  # noqa: E731
            return self._stages.result("converting to float16", key, make)
        if self._options.precision == "int8":
            make = lambda: self._quantized(plain).SerializeToString()  # noqa: E731
            pictures = *self._calibration.measured, *self._calibration.searched
            key.append([hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures])
            key.append(self._options.force)
            return self._stages.result("calibrating int8, and finding what bears it", key, make)
        if self._options.weights == "fp16":
            data: bytes = half_storage(onnx.load_from_string(plain)).SerializeToString()
            return data
        return plain

    @staticmethod
    def _digest(case: Case) -> str:
        return hashlib.sha256(case.image.tobytes() + case.text.tobytes()).hexdigest()

    def _half(self, plain: bytes, compared: Sequence[Case]) -> onnx.ModelProto:
        model, last = onnx.load_from_string(plain), plain

        def accept(candidate: onnx.ModelProto) -> str:
            nonlocal last
            last = candidate.SerializeToString()
            with self._engine(last, self._spec(candidate)) as engine:
                return failures([compare(case, engine) for case in compared], self._tolerance)

        once = {id(case.image): case for case in compared}.values()
        inputs = [self._inputs(image[None], case.text) for case in once for image in case.image]
        try:
            half, kept = half_arithmetic(model, inputs, accept)
        except PrecisionError as error:
            raise PrecisionError(f"{error}. {self._where(last, compared)}") from None
        half.metadata_props.add(key=KEPT, value=json.dumps(kept))
        return half

    def _quantized(self, plain: bytes) -> onnx.ModelProto:
        kinds = ("Conv",) if _mostly_convolutions(self._reference, self._subject) else ("Conv", "MatMul", "Gemm")
        quantizer = Quantizer(onnx.load_from_string(plain), self._calibration_inputs(), kinds)
        searched = self._native_cases(self._calibration.searched[:THOROUGH])
        least = self._tolerance.label_agreement + MARGIN
        try:
            found = int8_arithmetic(quantizer, self._judge(searched[:ROUGH]), self._judge(searched), least)
        except PrecisionError:
            if not self._options.force:
                raise
            found = quantized(quantizer, quantizer.products)
        found.model.metadata_props.add(key=KEPT, value=json.dumps(found.kept))
        found.model.metadata_props.add(key=SHARE, value=json.dumps(found.share))
        return found.model

    def _judge(self, compared: Sequence[Case]) -> Judge:
        def judge(candidate: onnx.ModelProto) -> Agreement:
            with self._engine(candidate.SerializeToString(), self._spec(candidate)) as engine:
                records = [compare(case, engine) for case in compared]
            return Agreement(label_agreement(records), float(np.mean([record.mean_error for record in records])))

        return judge

    def _calibration_inputs(self) -> Iterator[Arrays]:
        text = self._words if self._folded is not None else self._rows(21)
        for picture in self._calibration.measured:
            yield self._inputs(as_input([picture], self.input_spec, self._size or self._native), text)

    def _native_cases(self, pictures: Sequence[BGR]) -> tuple[Case, ...]:
        """Run PyTorch on pictures in the size that the graph is made for."""
        rows = self._words if self._folded is not None else self._rows(max(21, len(self._words)))
        size = self._size or self._native
        images = [(as_input([picture], self.input_spec, size), [len(rows)]) for picture in pictures]
        return cases(self._reference, images, rows, len(self._words))

    @property
    def _native(self) -> tuple[int, int]:
        side = default_side(self._options, self._subject)
        return side, side

    # Comparing

    @cached_property
    def _pictures(self) -> list[BGR]:
        return shipped_pictures() if self._options.calibration is None else self._calibration.judged

    @cached_property
    def _calibration(self) -> Calibration:
        assert self._options.calibration is not None
        return Calibration.divided(folder_pictures(self._options.calibration))

    @property
    def _tolerance(self) -> Tolerance:
        tolerance = TOLERANCES[self._options.tolerance]
        return tolerance if self._options.atol is None else replace(tolerance, max_error=self._options.atol)

    def _rows(self, count: int) -> Embeddings:
        rows = np.concatenate([self._words, rare_words(count, self._words.shape[1])])[:count]
        return np.ascontiguousarray(rows)

    def _cases(self) -> tuple[Case, ...]:
        """Choose pictures, sizes, batches and numbers of words other than those traced, and run PyTorch on them."""
        if self._options.device == "cuda":
            self._reference.to("cuda")
        step, size = self._subject.model.preprocess.multiple_of, self._size
        pictures = self._pictures

        def image(number: int, count: int, at: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
            chosen = [pictures[(number + index) % len(pictures)] for index in range(count)]
            return as_input(chosen, self.input_spec, at)

        if self._folded is not None:
            assert size is not None
            counts = [len(self._words)]
            numbers = (0, 3) if self._options.calibration is None else range(min(len(pictures), THOROUGH))
            images = [(image(n, 1, size), counts) for n in numbers]
            return cases(self._reference, images, self._words, len(self._words))
        if size is not None:
            images = [(image(0, 1, size), [1, 3, 21]), (image(2, 2, size), [NUM_WORDS])]
        else:
            images = [
                (image(0, 1, (7 * step, 13 * step)), [1, 3]),
                (image(1, 3, (4 * step, 5 * step)), [21]),
                (image(2, 2, (9 * step, 6 * step)), [NUM_WORDS]),
                (image(3, 1, self._native), [21]),
            ]
        compared = cases(self._reference, images, self._rows(NUM_WORDS), len(self._words))
        return compared if self._options.calibration is None else compared + self._native_cases(pictures[:THOROUGH])

    def _inputs(self, image: Embeddings, text: Embeddings) -> Arrays:
        return {"image": image} if self._folded is not None else {"image": image, "text": text}

    def _spec(self, model: onnx.ModelProto) -> GraphSpec:
        kept: list[str] = next((json.loads(entry.value) for entry in model.metadata_props if entry.key == KEPT), [])
        return GraphSpec(
            file=FILE,
            precision=self._options.precision,
            opset=self._options.opset,
            inputs=dict(self._signature.inputs),
            outputs=dict(self._signature.outputs),
            kept_fp32=tuple(kept),
        )

    def _engine(self, data: bytes, spec: GraphSpec) -> OnnxRuntimeEngine | FoldedWords:
        engine = OnnxRuntimeEngine(data, spec, provider=self._options.device)
        return engine if self._folded is None else FoldedWords(engine, self._words)

    def _compare(self, data: bytes, spec: GraphSpec, compared: Sequence[Case]) -> tuple[ParityRecord, ...]:
        with self._engine(data, spec) as engine:
            records = tuple(compare(case, engine) for case in compared)
        problem = failures(records, self._tolerance)
        if not problem or (self._options.precision == "int8" and self._options.force):
            return records
        if self._options.precision == "int8":
            raise PrecisionError(
                f"in int8 too many labels differ: {problem}. Calibrate on more pictures of the same kind, export with "
                "--fp16, or add --force"
            )
        raise ParityError(f"the exported graph differs from PyTorch: {problem}. {self._where(data, compared)}")

    def _where(self, data: bytes, compared: Sequence[Case]) -> str:
        self._stages.tell("looking for where it goes wrong", "begins")
        case = compared[0]
        program = trace(self._graph, self._sample, self._signature, self._options.opset)
        worst = worst_tensors(program, onnx.load_from_string(data), self._inputs(case.image, case.text))
        return "Worst tensors, in the order of computation: " + "; ".join(map(str, worst))


def _mostly_convolutions(reference: SegmenterGraph, subject: Subject) -> bool:
    """Whether convolutions are most of the work: then the rest is not worth the labels that int8 costs there."""
    step, channels = subject.model.preprocess.multiple_of, subject.model.image_encoder.embed_dim
    shapes = (1, 3, 4 * step, 4 * step), (1, channels)
    whole = count_in_pytorch(reference, shapes)
    convolutions = count_in_pytorch(reference, shapes, kind="convolution")
    return convolutions > whole / 2
