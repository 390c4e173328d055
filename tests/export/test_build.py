"""A model becomes a bundle. Oracles: PyTorch itself, ONNX's own checker, and damage done on purpose."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.build import export_bundle
from export.errors import ParityError, PrecisionError
from export.float16 import SMALL, largest_numbers
from export.options import Options
from export.stages import Stages
from export.subject import Subject
from export.to_onnx import Signature, to_onnx
from runtime import Segmenter
from runtime.bundle import BackgroundSpec
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.errors import BundleError, VocabularyError


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [(Options(), 1e-5), (Options(weights="fp16"), 2e-3), (Options(precision="fp16"), 2e-3)],
    ids=["fp32", "fp16 weights", "fp16"],
)
def test_the_bundle_does_what_pytorch_does(
    subject: Subject, stages: Stages, tmp_path: Path, options: Options, tolerance: float
) -> None:
    bundle = export_bundle(subject, None, tmp_path / "b.tclb", options, stages=stages)
    manifest = bundle.manifest
    assert (manifest.segmenter.precision, manifest.output.stride) == (options.precision, 8)
    assert [(r.batch, r.words) for r in manifest.parity] == [(1, 1), (1, 3), (3, 21), (2, 128), (1, 21)]
    image, text = torch.randn(3, 3, 40, 104), torch.randn(5, 16)
    with torch.inference_mode():
        expected = subject.model.masks(image, text / text.norm(dim=1, keepdim=True)).numpy()
    text /= text.norm(dim=1, keepdim=True)
    with OnnxRuntimeEngine(bundle.read("segmenter.onnx"), manifest.segmenter) as engine:
        masks = engine.infer({"image": image.numpy(), "text": text.numpy()})["masks"]
    assert masks.dtype == np.float32
    np.testing.assert_allclose(masks, expected, atol=tolerance)


def test_half_weights_halve_the_file_and_half_arithmetic_computes_in_halves(
    subject: Subject, stages: Stages, tmp_path: Path
) -> None:
    sizes, types = {}, {}
    subject.model.image_encoder.head = torch.nn.Conv2d(24, 16, 9, padding=4)  # large enough to weigh something
    for name, options in {
        "fp32": Options(),
        "weights": Options(weights="fp16"),
        "arithmetic": Options(precision="fp16"),
    }.items():
        bundle = export_bundle(subject, None, tmp_path / f"{name}.tclb", options, stages=stages)
        graph = onnx.load_from_string(bundle.read("segmenter.onnx")).graph
        sizes[name] = sum(numpy_helper.to_array(weight).nbytes for weight in graph.initializer)
        types[name] = {weight.data_type for weight in graph.initializer if np.prod(weight.dims) >= SMALL}
    assert sizes["weights"] < 0.55 * sizes["fp32"]
    assert sizes["arithmetic"] < 0.55 * sizes["fp32"]
    assert types == {
        "fp32": {onnx.TensorProto.FLOAT},
        "weights": {onnx.TensorProto.FLOAT16},
        "arithmetic": {onnx.TensorProto.FLOAT16},
    }


class Scaled(torch.nn.Module):
    """Multiplies, and divides again: harmless in float32."""

    def __init__(self, trunk: torch.nn.Module, factor: float) -> None:
        super().__init__()
        self.trunk, self.register = trunk, torch.nn.Conv2d(24, 24, 1, groups=24, bias=False)
        torch.nn.init.constant_(self.register.weight, factor)
        self.back = torch.nn.Conv2d(24, 24, 1, groups=24, bias=False)
        torch.nn.init.constant_(self.back.weight, 1 / factor)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.back(torch.nn.functional.gelu(self.register(self.trunk(images))))


def test_numbers_beyond_float16_stay_in_float32_and_are_listed(
    subject: Subject, stages: Stages, tmp_path: Path
) -> None:
    """Oracles: the numbers in the float32 graph, and the gate, which passes."""
    subject.model.image_encoder.trunk = Scaled(subject.model.image_encoder.trunk, 1e7)
    bundle = export_bundle(subject, None, tmp_path / "b.tclb", Options(precision="fp16"), stages=stages)
    kept = bundle.manifest.segmenter.kept_fp32
    assert "Conv x 2" in kept
    assert "Gelu x 1" in kept
    assert max(record.max_error for record in bundle.manifest.parity) < 2e-2
    plain = export_bundle(subject, None, tmp_path / "c.tclb", Options(rewrite="exact"), stages=stages)
    inputs = {"image": np.random.default_rng(0).random((1, 3, 64, 64), np.float32), "text": np.eye(2, 16, dtype="f4")}
    assert max(largest_numbers(onnx.load_from_string(plain.read("segmenter.onnx")), [inputs]).values()) > 65504


def test_the_graph_documents_itself(subject: Subject, stages: Stages, tmp_path: Path) -> None:
    bundle = export_bundle(subject, None, tmp_path / "b.tclb", Options(), stages=stages)
    model = onnx.load_from_string(bundle.read("segmenter.onnx"))
    shapes = {
        value.name: tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {**bundle.manifest.segmenter.inputs, **bundle.manifest.segmenter.outputs}
    assert shapes["image"] == ("batch", 3, "height", "width")
    assert [opset.version for opset in model.opset_import if not opset.domain] == [20]


def test_words_change_on_the_device(subject: Subject, stages: Stages, tmp_path: Path) -> None:
    """Oracle: a second export with the other words."""
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    first = export_bundle(subject, "person, road", tmp_path / "a.tclb", Options(), stages=stages)
    second = export_bundle(subject, "red wall|road, sky", tmp_path / "b.tclb", Options(), stages=stages)
    with Segmenter(first) as segmenter, Segmenter(second) as other:
        assert segmenter.names == ("background", "person", "road")
        segmenter.set_classes("red wall|road, sky")
        assert segmenter.names == other.names
        assert np.array_equal(segmenter(frame).mask, other(frame).mask)


def test_a_class_called_background_is_the_bundle_s_background(subject: Subject, stages: Stages, tmp_path: Path) -> None:
    """Oracle: the words and the threshold as typed; without them the model's own."""
    typed = "_background_|sky:0.2, person"
    bundle = export_bundle(subject, typed, tmp_path / "a.tclb", Options(text_encoder=False), stages=stages)
    assert (bundle.manifest.background.words, bundle.manifest.background.threshold) == (("sky",), 0.2)
    with Segmenter(bundle) as segmenter:
        assert segmenter.names == ("background", "person")
    plain = export_bundle(subject, "Background, person", tmp_path / "b.tclb", Options(), stages=stages)
    assert plain.manifest.background == subject.background
    silent = replace(subject, background=BackgroundSpec())
    with pytest.raises(VocabularyError, match=r"nothing says what 'background' looks like.* write background\|wall"):
        export_bundle(silent, "background, person", tmp_path / "c.tclb", Options(), stages=stages)


def test_without_a_text_encoder_the_words_are_fixed(subject: Subject, stages: Stages, tmp_path: Path) -> None:
    bundle = export_bundle(subject, "person", tmp_path / "b.tclb", Options(text_encoder=False), stages=stages)
    assert {p.name for p in bundle.path.iterdir()} == {
        "manifest.json",
        "segmenter.onnx",
        "vocabularies",
        "MODEL_CARD.md",
    }
    with (
        Segmenter(bundle, background=None) as segmenter,
        pytest.raises(VocabularyError, match="without a text encoder"),
    ):
        segmenter.set_classes("sky")


def test_a_graph_that_differs_from_pytorch_is_not_written(
    subject: Subject, stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: a conversion that damages one weight."""

    def damage(model: onnx.ModelProto) -> onnx.ModelProto:
        weight = max(model.graph.initializer, key=lambda w: np.prod(w.dims))
        weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
        return model

    monkeypatch.setattr("export.precision.half_storage", damage)
    with pytest.raises(
        ParityError, match=r"differs from PyTorch: 56x104, batch 1, 1 words: max error.*Worst tensors.* in "
    ):
        export_bundle(subject, None, tmp_path / "b.tclb", Options(weights="fp16"), stages=stages)
    assert list(tmp_path.iterdir()) == []


def test_float16_that_no_island_saves_names_the_worst_tensors(subject: Subject, stages: Stages, tmp_path: Path) -> None:
    with pytest.raises(PrecisionError, match=r"in float16 the graph differs too much.*Worst tensors, .* in model\..*"):
        export_bundle(subject, None, tmp_path / "b.tclb", Options(precision="fp16", atol=1e-9), stages=stages)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", ["", "person, person", "unknown thing"])
def test_bad_words_write_nothing(subject: Subject, stages: Stages, tmp_path: Path, classes: str) -> None:
    with pytest.raises(VocabularyError):
        export_bundle(subject, classes, tmp_path / "b.tclb", Options(), stages=stages)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_kept(subject: Subject, stages: Stages, tmp_path: Path) -> None:
    export_bundle(subject, "person", tmp_path / "b.tclb", Options(), stages=stages)
    with pytest.raises(BundleError, match="add --overwrite"):
        export_bundle(subject, "road", tmp_path / "b.tclb", Options(), stages=stages)
    bundle = export_bundle(subject, "road", tmp_path / "b.tclb", Options(), stages=stages, overwrite=True)
    assert Segmenter(bundle).names == ("background", "road")


def test_templates_are_averaged_before_normalising(subject: Subject, stages: Stages, tmp_path: Path) -> None:
    """Oracle: the mean of PyTorch's raw embeddings, TCL's rule; and of unit ones, CLIP's."""
    templates = ("red {}", "{}", "{} wall")
    for averaging in ("raw", "unit"):
        text = subject.text.model_copy(update={"templates": templates, "averaging": averaging})
        bundle = export_bundle(
            replace(subject, text=text), "sky", tmp_path / f"{averaging}.tclb", Options(), stages=stages
        )
        encoder = subject.model.text_encoder
        with torch.inference_mode():
            rows = torch.cat([encoder(encoder.tokenize([t.format("sky")])) for t in templates])
        if averaging == "unit":
            rows = torch.nn.functional.normalize(rows, dim=1)
        expected = torch.nn.functional.normalize(rows.mean(0), dim=0).numpy()
        with Segmenter(bundle, background=None) as segmenter:
            np.testing.assert_allclose(segmenter._words.vocabulary.embeddings[0], expected, atol=1e-5)


def test_activations_that_overwrite_their_input_do_so_again_afterwards() -> None:
    """Oracle: the graph of the same network without them."""
    conv, sample = torch.nn.Conv2d(3, 4, 1), torch.rand(2, 3, 5, 5)
    signature = Signature({"x": ("n", 3, 5, 5)}, {"y": ("n", 4, 5, 5)})
    networks = [torch.nn.Sequential(conv, torch.nn.ReLU6(inplace=inplace)) for inplace in (True, False)]
    overwriting, plain = (to_onnx(network, (sample,), signature).graph for network in networks)
    assert [node.op_type for node in plain.node] == ["Conv", "Clip"]
    assert overwriting.node == plain.node
    assert overwriting.initializer == plain.initializer
    assert [network[1].inplace for network in networks] == [True, False]


def test_a_sample_that_would_freeze_a_dimension_is_refused() -> None:
    signature = Signature({"x": ("n", 3)}, {"y": ("n", 3)})
    with pytest.raises(ValueError, match=r"shape \(1, 3\), expected at least 2 in axes \[0\]"):
        to_onnx(torch.nn.Identity(), (torch.zeros(1, 3),), signature)
