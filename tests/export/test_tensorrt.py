"""Exported graphs in TensorRT. Oracle: TensorRT for RTX, the same parser and builder, which compiles without a GPU."""

import warnings
from pathlib import Path

import onnx
import pytest
import torch

from export.build import export_bundle
from export.graph import SegmenterGraph
from export.options import Options
from export.stages import Stages
from export.subject import Subject
from export.to_onnx import OPSET, Signature, to_onnx
from runtime.bundle import GraphSpec
from runtime.engines.builder import build_plan
from runtime.engines.profile import Profile, Range, segmenter_profile
from tcl_core.towers.official import load_tcl

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 only")

GOLDEN = Path(__file__).parents[1] / "golden" / "tcl_small"


class Unwatched:
    def begin(self, phase: str, parent: str | None, steps: int) -> None: ...
    def step(self, phase: str, step: int) -> None: ...
    def finish(self, phase: str) -> None: ...


@pytest.mark.parametrize(
    "options",
    [Options(), Options(precision="fp16"), Options(weights="fp16"), Options(size=(64, 96), fold_text=True)],
    ids=["fp32", "fp16", "fp16 weights", "words inside, fixed size"],
)
def test_every_kind_of_bundle_compiles(options: Options, subject: Subject, stages: Stages, tmp_path: Path) -> None:
    manifest = (bundle := export_bundle(subject, None, tmp_path / "b.tclb", options, stages=stages)).manifest
    profile = segmenter_profile(manifest.input, words=64, batch=2)
    graph = bundle.read(manifest.segmenter.file)
    assert build_plan(trt, graph, manifest.segmenter, profile, progress=Unwatched()).plan


def test_int8_compiles(subject: Subject, stages: Stages, tmp_path: Path, photos: Path) -> None:
    options = Options("int8", calibration=photos, force=True)
    manifest = (bundle := export_bundle(subject, None, tmp_path / "b.tclb", options, stages=stages)).manifest
    assert manifest.operations is not None
    assert manifest.operations.int8_share
    profile = segmenter_profile(manifest.input, words=64, batch=2)
    graph = bundle.read(manifest.segmenter.file)
    assert build_plan(trt, graph, manifest.segmenter, profile, progress=Unwatched()).plan


@pytest.fixture(scope="module")
def transformer() -> tuple[onnx.ModelProto, GraphSpec, Profile]:
    """TCL on a small CLIP: attention, the decoder, positions resized inside the graph."""
    model = load_tcl(GOLDEN / "clip_small_openai_layout.pth", GOLDEN / "tcl_official_small.pth")
    channels, step = model.image_encoder.embed_dim, model.preprocess.multiple_of
    signature = Signature(
        {"image": ("batch", 3, "height", "width"), "text": ("words", channels)},
        {"masks": ("batch", "words", "mask_height", "mask_width")},
    )
    sample = torch.rand(2, 3, 4 * step, 6 * step), torch.rand(3, channels)
    graph = to_onnx(SegmenterGraph(model), sample, signature)
    spec = GraphSpec(
        file="t.onnx", precision="fp32", opset=OPSET, inputs=dict(signature.inputs), outputs=dict(signature.outputs)
    )
    sides = Range(2 * step, 4 * step, 8 * step)
    ranges = {"batch": Range(1, 1, 2), "words": Range(1, 4, 16), "height": sides, "width": sides}
    return graph, spec, Profile(ranges)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_vision_transformer_compiles(precision: str, transformer: tuple[onnx.ModelProto, GraphSpec, Profile]) -> None:
    from onnxconverter_common.float16 import convert_float_to_float16

    graph, spec, profile = transformer
    if precision == "fp16":
        copy = onnx.ModelProto()
        copy.CopyFrom(graph)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a line for every weight below float16's smallest number
            graph = convert_float_to_float16(copy, keep_io_types=True)
    built = build_plan(trt, graph.SerializeToString(), spec, profile, progress=Unwatched())
    assert len(built.plan) > 1_000_000
