"""Every family of model through the whole export, small and with random weights.

Oracles: PyTorch's own reference inference, open_clip's tokenizer, and a second export with other words.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import open_clip
import pytest
import torch
from timm.models import register_model
from timm.models.fastvit import fastvit_t8

from export.build import export_bundle
from export.errors import DamagedSubjectError, OptionError, PrecisionError, SubjectError
from export.options import Options
from export.pictures import Pictures
from export.stages import Stages
from export.subject import Subject, load_subject
from runtime import Segmenter, open_engine
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.errors import EngineError, VocabularyError
from tcl_core.load.choice import ModelChoice

GOLDEN = Path(__file__).parents[1] / "golden" / "tcl_small"
OFFICIAL = ModelChoice(str(GOLDEN / "clip_small_openai_layout.pth"), checkpoint=GOLDEN / "tcl_official_small.pth")
WORDS = "cat, sofa|couch, floor"
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
FAMILIES = {
    "small-resnet": {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}},
    "small-mobileclip": {
        "vision_cfg": {"timm_model_name": "fastvit_small", "timm_pool": "avg", "timm_proj": None, "image_size": 64},
        "text_cfg": TEXT | {"no_causal_mask": True},
        "custom_text": True,
    },
    "small-openclip": {"vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16}},
}


@register_model
def fastvit_small(pretrained: bool = False, **settings: object) -> torch.nn.Module:
    """MobileCLIP's kind of tower with a block a stage: tracing takes as long as there are blocks."""
    return fastvit_t8(pretrained, layers=(1, 1, 1, 1), embed_dims=(16, 32, 64, 128), **settings)


@pytest.fixture(scope="module", autouse=True)
def small_models(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the small configurations known to open_clip by name."""
    folder = tmp_path_factory.mktemp("configs")
    for name, config in FAMILIES.items():
        (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 32, "text_cfg": TEXT, **config}))
    open_clip.add_model_config(folder)


@pytest.fixture(scope="module")
def official() -> Subject:
    """TCL's decoder with open gates on a small CLIP."""
    return load_subject(ModelChoice("small-openclip", pretrained="random", head="tcl"))


@pytest.mark.parametrize(
    ("name", "head", "options"),
    [
        ("small-resnet", None, Options(size=(64, 96))),
        ("small-mobileclip", None, Options()),
        ("small-openclip", "clearclip", Options(dynamic=True)),
    ],
)
def test_a_family_passes_its_gate(
    stages: Stages, tmp_path: Path, name: str, head: str | None, options: Options
) -> None:
    subject = load_subject(ModelChoice(name, pretrained="random", head=head))
    bundle = export_bundle(subject, WORDS, tmp_path / "b.tclb", options, stages=stages)
    manifest = bundle.manifest
    assert all(record.max_error <= 1e-4 for record in manifest.parity)
    assert {record.words for record in manifest.parity} == {1, 3, 21, 128}
    free = [size for size in manifest.segmenter.inputs["image"] if isinstance(size, str)]
    assert free == (["batch"] if options.size else ["batch", "height", "width"])
    tokens = manifest.text_encoder.inputs["tokens"]
    assert tokens == ("words", 77 if name == "small-mobileclip" else "length")  # padding is seen without a causal mask
    prompts = [template.format("red car") for template in manifest.text.templates]
    encoder = subject.model.text_encoder
    with torch.inference_mode():
        expected = encoder(encoder.tokenize(prompts)).mean(0)
    with Segmenter(bundle) as segmenter:
        segmenter.set_classes("red car")
        (row,) = segmenter._words.vocabulary.embeddings
    np.testing.assert_allclose(row, expected / expected.norm(), atol=1e-5)


def test_the_official_model_in_a_fixed_size_with_the_known_prior(
    official: Subject, stages: Stages, tmp_path: Path
) -> None:
    """Oracle: the reference inference, at the resolution of the masks."""
    bundle = export_bundle(official, WORDS, tmp_path / "b.tclb", Options(size=(64, 96), kp_weight=0.3), stages=stages)
    manifest = bundle.manifest
    assert (manifest.source.kp_weight, manifest.input.size, manifest.output.stride) == (0.3, (64, 96), 4)
    assert manifest.operations.size == (64, 96)
    assert manifest.operations.exported < 0.6 * manifest.operations.plain
    assert manifest.text.averaging == "raw"
    assert len(manifest.text.templates) == 9
    image, text = torch.randn(2, 3, 64, 96), torch.randn(5, 32)
    text /= text.norm(dim=1, keepdim=True)
    expected = official.model.segment(image, text, kp_weight=0.3)
    with OnnxRuntimeEngine(bundle.read("segmenter.onnx"), manifest.segmenter) as engine:
        masks = torch.from_numpy(engine.infer({"image": image.numpy(), "text": text.numpy()})["masks"])
        with pytest.raises(EngineError, match=r"takes image of shape \('batch', 3, 64, 96\)"):
            engine.infer({"image": np.zeros((1, 3, 64, 64), np.float32), "text": text.numpy()})
    resized = torch.nn.functional.interpolate(masks, size=(64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized, expected, rtol=0, atol=5e-6)


def test_words_change_while_frames_stream(official: Subject, stages: Stages, tmp_path: Path) -> None:
    """Between two frames, with the same engine. Oracle: a segmenter that had the new words from the start."""
    bundle = export_bundle(official, WORDS, tmp_path / "b.tclb", Options(size=(64, 96), kp_weight=0.3), stages=stages)
    with (
        open_engine(bundle) as engine,
        Segmenter(bundle, engine=engine) as segmenter,
        Segmenter(bundle, classes="tree, red car") as other,
    ):
        names, masks = [], []
        for number, result in enumerate(segmenter.predict("test://cars", stream=True)):
            names.append(result.names)
            masks.append((result.frame.copy(), result.soft_masks.copy()))
            if number == 1:
                segmenter.set_classes("tree, red car")
            if number == 3:
                break
        assert names == [("background", "cat", "sofa", "floor")] * 2 + [("background", "tree", "red car")] * 2
        for frame, given in masks[2:]:
            np.testing.assert_array_equal(other(frame).soft_masks, given)


def test_half_arithmetic_of_the_official_model(official: Subject, stages: Stages, tmp_path: Path) -> None:
    bundle = export_bundle(official, WORDS, tmp_path / "b.tclb", Options("fp16", size=(64, 96)), stages=stages)
    assert bundle.manifest.segmenter.precision == "fp16"
    assert max(record.max_error for record in bundle.manifest.parity) < 1e-2


def test_int8_is_calibrated_and_judged(
    subject: Subject, stages: Stages, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options("int8", calibration=photos)
    monkeypatch.setattr("export.comparison.TOLERANCES", {"int8": replace(_int8(), label_agreement=0.9)})
    bundle = export_bundle(subject, None, tmp_path / "b.tclb", options, stages=stages)
    assert bundle.manifest.segmenter.precision == "int8"
    assert bundle.manifest.segmenter.kept_fp32 == ()
    assert bundle.manifest.operations.int8_share > 0.5
    assert [(r.batch, r.words) for r in bundle.manifest.parity[5:]] == [(1, 21)] * 2  # a quarter of the photographs
    graph = onnx.load_from_string(bundle.read("segmenter.onnx")).graph
    assert [node.op_type for node in graph.node].count("QuantizeLinear") == 3  # one for the input of each convolution
    errors = [record.max_error for record in bundle.manifest.parity]
    assert 1e-5 < max(errors) < 0.25  # it does differ from float32, and is not noise
    monkeypatch.setattr("export.comparison.TOLERANCES", {"int8": replace(_int8(), label_agreement=1.01)})
    with pytest.raises(PrecisionError, match=r"in int8 too many labels differ .*wanted 103\.0%.* add --force"):
        export_bundle(subject, None, tmp_path / "c.tclb", options, stages=stages)
    assert not (tmp_path / "c.tclb").exists()
    forced = export_bundle(subject, None, tmp_path / "c.tclb", replace(options, force=True), stages=stages)
    assert forced.manifest.parity


def test_int8_wants_more_than_a_few_pictures(subject: Subject, tmp_path: Path, photos: Path) -> None:
    """And says so before anything long begins."""
    begun: list[str] = []
    stages = Stages(tell=lambda stage, fate: begun.append(stage))
    (photos / "0.png").unlink()
    with pytest.raises(OptionError, match=r"7 pictures in .*photos, expected 8 at least"):
        export_bundle(subject, None, tmp_path / "b.tclb", Options("int8", calibration=photos), stages=stages)
    (photos / "0.png").write_bytes(b"<html>")
    with pytest.raises(OptionError, match=r"0\.png: not a picture that OpenCV can decode; take it out of the folder"):
        export_bundle(subject, None, tmp_path / "b.tclb", Options("int8", calibration=photos), stages=stages)
    assert begun == []
    assert not (tmp_path / "b.tclb").exists()


def test_pictures_are_dealt_out_once() -> None:
    pictures = [np.full((1, 1, 3), number, np.uint8) for number in range(9)]
    dealt = Pictures.divided(pictures)
    numbers = [[int(picture[0, 0, 0]) for picture in part] for part in (dealt.measured, dealt.searched, dealt.judged)]
    assert numbers == [[1, 3, 5, 7], [2, 6], [0, 4, 8]]


def _int8():
    from export.parity import TOLERANCES

    return TOLERANCES["int8"]


def test_folded_words_make_a_constant_graph(subject: Subject, stages: Stages, tmp_path: Path) -> None:
    """Oracle: the flexible bundle with the same words, background and input size."""
    folded = export_bundle(subject, "person, red road", tmp_path / "f.tclb", Options(fold_text=True), stages=stages)
    flexible = export_bundle(subject, "person, red road", tmp_path / "d.tclb", Options(dynamic=False), stages=stages)
    assert folded.manifest.segmenter.inputs == {"image": (1, 3, 64, 64)}
    assert folded.manifest.text_encoder is None
    assert not (folded.path / "text_encoder.onnx").exists()
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    with Segmenter(folded) as segmenter, Segmenter(flexible) as other:
        for background in ("default", None):
            for classes in (None, "red road|person", "person"):
                segmenter.set_classes(classes, background=background)
                other.set_classes(classes, background=background)
                np.testing.assert_allclose(segmenter(frame).soft_masks, other(frame).soft_masks, atol=1e-6)
        with pytest.raises(VocabularyError, match="without a text encoder, so its words are fixed"):
            segmenter.set_classes("sky")


def test_a_bundle_without_text_encoder_knows_its_background(subject: Subject, stages: Stages, tmp_path: Path) -> None:
    bundle = export_bundle(subject, "person, Wall", tmp_path / "b.tclb", Options(text_encoder=False), stages=stages)
    with Segmenter(bundle) as segmenter:
        assert segmenter.names == ("person", "Wall")  # a class is no background
    bundle = export_bundle(subject, "person", tmp_path / "c.tclb", Options(text_encoder=False), stages=stages)
    with Segmenter(bundle) as segmenter:
        assert segmenter.names == ("background", "person")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(size=(60, 90)), r"--imgsz 60,90 given, toy takes multiples of 8: 64,88 is near"),
        (Options(dynamic=True, fold_text=True), "leave out one of them"),
        (Options("int8"), r"--int8 needs --calib FOLDER"),
        (Options(force=True), "belong to --int8"),
        (Options("fp16", weights="fp16"), "leave it out with fp16"),
        (Options("fp16", rewrite="winograd"), "winograd needs float32"),
        (Options(kp_weight=1.5), "a share between 0 and 1"),
        (Options(atol=0.0), "--atol 0.0 given"),
        (Options(device="cuda"), "PyTorch finds no GPU"),
        (Options("int8", calibration=Path("nowhere")), "is no folder"),
        (Options("int8", calibration=GOLDEN), "no picture in"),
        (Options(opset=17), "opset 17 given, expected 18 to 24"),
    ],
)
def test_options_that_make_no_sense_write_nothing(
    subject: Subject, tmp_path: Path, options: Options, message: str
) -> None:
    if options.device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(OptionError, match=message):
        export_bundle(subject, None, tmp_path / "b.tclb", options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (ModelChoice("tinny"), r"no model 'tinny': did you mean tiny"),
        (ModelChoice("ViT-B-16-quickgel", pretrained="openai"), r"did you mean ViT-B-16-quickgelu"),
        (ModelChoice("ViT-B-16"), r"which weights for ViT-B-16\?"),
        (ModelChoice("ViT-B-16", pretrained="opena"), r"no weights 'opena' for ViT-B-16"),
    ],
)
def test_models_that_cannot_be_had_are_explained(choice: ModelChoice, message: str) -> None:
    with pytest.raises(SubjectError, match=message):
        load_subject(choice)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty: download it again"),
        (b"<!DOCTYPE html><html>404</html>", r"is a web page \(HTML\), not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a Git LFS pointer"),
        ((GOLDEN / "tcl_official_small.pth").read_bytes()[:5000], "is truncated or damaged"),
        (b"[1, 2]", "no file of weights"),
    ],
)
def test_weights_that_are_none_are_explained(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "tcl.pth").write_bytes(data)
    for choice in (ModelChoice(str(tmp_path / "tcl.pth")), replace(OFFICIAL, checkpoint=tmp_path / "tcl.pth")):
        with pytest.raises(DamagedSubjectError, match=message):
            load_subject(choice)


def test_a_model_without_a_vocabulary_for_its_tokenizer_is_refused(stages: Stages, tmp_path: Path) -> None:
    """The recorded CLIP knows 128 tokens; CLIP's tokenizer makes number 49406."""
    with pytest.raises(SubjectError, match=r"cannot read words: this model knows \d+ tokens"):
        export_bundle(load_subject(OFFICIAL), WORDS, tmp_path / "b.tclb", Options(), stages=stages)
    assert list(tmp_path.iterdir()) == []
