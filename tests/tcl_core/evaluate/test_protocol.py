"""Protocols. Oracle: what was recorded of mmsegmentation's pipeline, TCL's evaluation and SCLIP's; naive loops."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tcl_core import TCL
from tcl_core.errors import ConfigError
from tcl_core.evaluate.bundle import network_size as runtime_size
from tcl_core.evaluate.class_scores import class_probabilities
from tcl_core.evaluate.layouts import KEYS
from tcl_core.evaluate.protocol import STATISTICS, Protocol, overridden
from tcl_core.evaluate.protocols import PROTOCOL_NAMES, RUNTIME, protocol_named
from tcl_core.evaluate.protocols import TCL as TCL_PROTOCOL
from tcl_core.evaluate.sliding import network_size, prepared, slide
from tcl_core.evaluate.soft_masks import SoftMasks, model_segment, resolved, softmax_scores
from tcl_core.pamr import refine
from tcl_core.pictures import open_picture
from tcl_core.prompts import Word, templates
from tcl_core.segment import label_map, resize, window_starts
from tcl_core.segment import slide as slide_windows
from tests.tcl_core.evaluate.conftest import EVAL, HEADS, arrays, cases

RECORDED = json.loads((EVAL / "names" / "benchmarks.json").read_text())["benchmarks"]
SMALL_SETTINGS = json.loads((EVAL / "datasets" / "expected.json").read_text())["tcl_small_settings"]
SCLIP = json.loads((HEADS / "sclip_protocol.json").read_text())


def labels_of(masks: SoftMasks, size: tuple[int, ...], background: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (H,W), 0 for the background if there is one, and by how much the best wins."""
    words = resize(masks.words[None], size)[0]
    floor = resize(masks.background[None, None], size)[0]
    every = torch.cat([floor, words]) if background else words
    best = every.topk(2, dim=0).values
    return every.argmax(dim=0), best[0] - best[1]


def check_labels(labels: torch.Tensor, margin: torch.Tensor, expected: np.ndarray, tolerance: float = 2e-5) -> None:
    """Equal, except where the first two are nearer than the tolerance."""
    differ = labels.numpy() != expected
    assert not (differ & (margin.numpy() > tolerance)).any(), f"{differ.sum()} pixels of {differ.size}"


@pytest.mark.oracle
@pytest.mark.parametrize("key", list(RECORDED))
def test_settings_of_the_unified_evaluation(key: str) -> None:
    """Oracle: TCL's configuration of every benchmark, and its released settings."""
    recorded, protocol = RECORDED[key], protocol_named("tcl", key)
    assert [protocol.long_side, protocol.short_side] == recorded["test_scale"]
    assert [protocol.window] * 2 == recorded["crop_size"]
    assert [protocol.stride] * 2 == recorded["stride"]
    mean, std = STATISTICS[protocol.statistics]
    assert (list(mean), list(std)) == (recorded["mean_rgb"], recorded["std_rgb"])
    assert (protocol.kp_weight, protocol.pamr, protocol.templates) == (0.3, "window", "custom")


@pytest.mark.oracle
def test_settings_of_sclip_and_its_descendants() -> None:
    """Oracle: their configurations."""
    common = SCLIP["common"]
    for method, benchmarks in SCLIP["methods"].items():
        for key, recorded in benchmarks.items():
            protocol = protocol_named(method, key)
            assert protocol.softmax_scale == recorded["logit_scale"]
            assert protocol.threshold == recorded["prob_threshold"]
            assert protocol.area_share == recorded["area_threshold"]
            assert protocol.window == recorded["crop"]
            assert recorded["stride"] in (None, protocol.stride)
            assert (protocol.short_side, protocol.long_side) == (recorded["short_side"], recorded["long_side_max"])
            if recorded["pamr"] is None:
                assert protocol.pamr == "off"
            else:
                assert protocol.pamr == "picture"
                assert list(protocol.pamr_dilations) == recorded["pamr"]["dilations"]
                assert protocol.pamr_iterations == recorded["pamr"]["iterations"]
            assert [list(values) for values in STATISTICS[protocol.statistics]] == [common["mean"], common["std"]]
            assert list(templates(protocol.templates).prompts) == SCLIP["templates"]
            assert templates(protocol.templates).averaging == "unit"
            assert protocol.names == "sclip"


@pytest.mark.oracle
def test_sizes_are_rounded_as_recorded() -> None:
    recorded = arrays("protocol/resize")
    for name in [name for name in recorded if name.startswith("out_")]:
        scale = [int(side) for side in name.removeprefix("out_").split("x")]
        for (width, height), expected in zip(recorded["in_wh"].tolist(), recorded[name].tolist(), strict=True):
            assert network_size((height, width), min(scale), max(scale)) == (expected[1], expected[0])


@pytest.mark.oracle
def test_windows_lie_as_recorded() -> None:
    for case in json.loads((EVAL / "protocol" / "windows.json").read_text())["cases"]:
        (down, across), (step_down, step_across) = case["crop"], case["stride"]
        if case["windows"] is None:
            assert step_down > down or step_across > across
            continue
        ours = [
            [top, min(top + down, case["height"]), left, min(left + across, case["width"])]
            for top in window_starts(case["height"], down, step_down)
            for left in window_starts(case["width"], across, step_across)
        ]
        assert ours == case["windows"]


@pytest.mark.oracle
@pytest.mark.parametrize("case", cases(arrays("protocol/pipeline"), "file"))
def test_pictures_become_the_recorded_input(case: str, tmp_path) -> None:
    """Oracle: the decoded bytes, equal; the network's input, 2e-5."""
    recorded = {
        key.removeprefix(f"{case}_"): value
        for key, value in arrays("protocol/pipeline").items()
        if key.startswith(f"{case}_")
    }
    file = tmp_path / "picture"
    file.write_bytes(recorded["file"].tobytes())
    picture = open_picture(file)
    np.testing.assert_array_equal(np.asarray(picture)[..., ::-1], recorded["decoded_bgr"])
    scale = recorded["scale_arg"].tolist()
    protocol = replace(TCL_PROTOCOL, short_side=min(scale), long_side=max(scale))
    images = prepared(picture, protocol)
    np.testing.assert_allclose(images[0].numpy(), recorded["input"], rtol=0, atol=2e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("case", cases(arrays("protocol/slide"), "image"))
def test_windows_are_averaged_as_recorded(case: str, batch: int) -> None:
    """Oracle: means, sizes and labels of mmsegmentation for a function of the window's content and place; 2e-5."""
    recorded = {
        key.removeprefix(f"{case}_"): torch.from_numpy(value)
        for key, value in arrays("protocol/slide").items()
        if key.startswith(f"{case}_")
    }

    def network(windows: torch.Tensor) -> torch.Tensor:
        height, width = windows.shape[-2:]
        down = torch.arange(height).view(1, 1, -1, 1) / height * recorded["u"].view(1, -1, 1, 1)
        right = torch.arange(width).view(1, 1, 1, -1) / width * recorded["v"].view(1, -1, 1, 1)
        mean = windows.mean(dim=(1, 2, 3), keepdim=True) * recorded["b"].view(1, -1, 1, 1)
        return torch.tanh(torch.einsum("nc,bchw->bnhw", recorded["A"], windows) + down + right + mean)

    crop, stride, height, width = recorded["crop_stride_orih_oriw"].tolist()
    images = recorded["image"][None]
    averaged = slide_windows(network, images, window=crop, stride=stride, batch=batch)[0]
    torch.testing.assert_close(averaged, recorded["mean"], rtol=0, atol=2e-5)
    scores = resize(averaged[None], (height, width))[0]
    torch.testing.assert_close(scores, recorded["rescaled"], rtol=0, atol=2e-5)
    best = scores.topk(2, dim=0).values
    check_labels(scores.argmax(dim=0), best[0] - best[1], recorded["pred"].numpy())
    whole = resize(network(images), (height, width))[0]
    best = whole.topk(2, dim=0).values
    check_labels(whole.argmax(dim=0), best[0] - best[1], recorded["whole_pred"].numpy())


@settings(deadline=None, max_examples=20)
@given(st.integers(3, 40), st.integers(3, 40), st.integers(4, 20), st.integers(1, 4), st.integers(0, 99))
def test_sliding_is_a_naive_double_loop(height: int, width: int, window: int, batch: int, seed: int) -> None:
    """Oracle: every pixel's mean over the windows that hold it, in loops; 1e-5."""
    generator = np.random.default_rng(seed)
    picture = Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8))
    stride = int(generator.integers(1, window + 1))
    protocol = Protocol("mine", short_side=min(height, width), window=window, stride=stride)

    def network(windows: torch.Tensor) -> torch.Tensor:
        return windows[:, :2] * windows.mean(dim=(1, 2, 3), keepdim=True)

    found = slide(picture, network, protocol, batch=batch).numpy()
    images = prepared(picture, protocol)[0].numpy()
    assert images.shape[1:] == (height, width)
    total, count = np.zeros((2, height, width)), np.zeros((height, width))
    tops, lefts = ([0, *range(stride, 100, stride)] for _ in range(2))
    for side, starts in ((height, tops), (width, lefts)):
        while len(starts) > 1 and starts[-2] + window >= side:
            starts.pop()
    for top in tops:
        for left in lefts:
            y, x = max(min(top, height - window), 0), max(min(left, width - window), 0)
            patch = images[:, y : y + window, x : x + window]
            for down in range(patch.shape[1]):
                for right in range(patch.shape[2]):
                    total[:, y + down, x + right] += patch[:2, down, right] * patch.mean()
                    count[y + down, x + right] += 1
    np.testing.assert_allclose(found, total / count, rtol=0, atol=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("case", cases(arrays("protocol/background"), "masks"))
def test_backgrounds_and_ties_are_as_recorded(case: str) -> None:
    """Oracle: labels with exact ties planted: the background wins its own, else the first class. At one size exact."""
    recorded = arrays("protocol/background")
    masks = torch.from_numpy(recorded[f"{case}_masks"])
    prefix = f"{case}_"
    for key in [key for key in recorded if key.startswith(prefix) and key.endswith("_pred_same_size")]:
        tag = key.removeprefix(prefix).removesuffix("_pred_same_size")
        threshold = None if tag == "nobg" else float(tag.removeprefix("bg"))
        same_size = label_map(masks[None], threshold)[0]
        np.testing.assert_array_equal(same_size.numpy(), recorded[key])
        floor = torch.full(masks.shape[1:], 0.0 if threshold is None else threshold)
        size = tuple(recorded[f"{case}_ori"].tolist())
        labels, margin = labels_of(SoftMasks(masks, floor), size, threshold is not None)
        check_labels(labels, margin, recorded[f"{prefix}{tag}_pred"])


@pytest.mark.oracle
def test_class_embeddings_are_as_recorded() -> None:
    """Oracle: both ways of averaging on recorded template embeddings; 1e-4."""
    from tcl_core.encoder import normalize

    recorded = {key: torch.from_numpy(value) for key, value in arrays("protocol/text").items()}
    raw = recorded["template_embeddings"]
    for averaged, expected in (
        (raw.mean(dim=1), "tcl_class_embedding"),
        (normalize(raw, dim=-1).mean(dim=1), "normalise_first_class_embedding"),
    ):
        torch.testing.assert_close(normalize(averaged, dim=-1), recorded[expected], rtol=0, atol=1e-4)


@pytest.mark.oracle
def test_template_embeddings_are_as_recorded(recorded_model: TCL) -> None:
    """Oracle: the small CLIP's text encoder on recorded tokens; 1e-4."""
    recorded = {key: torch.from_numpy(value) for key, value in arrays("protocol/text").items()}
    tokens = recorded["tokens"]
    with torch.inference_mode():
        embedded = recorded_model.encode_text(tokens.flatten(0, 1)).reshape(*tokens.shape[:2], -1)
    torch.testing.assert_close(embedded, recorded["template_embeddings"], rtol=0, atol=1e-4)


def segment_with(model: TCL, text: np.ndarray, protocol: Protocol, monkeypatch: pytest.MonkeyPatch):
    """The evaluation's own path, given embeddings of words instead of words."""
    embeddings = torch.from_numpy(text)
    monkeypatch.setattr("tcl_core.evaluate.soft_masks.embed_words", lambda *_: embeddings)
    words = [Word(str(index), (str(index),)) for index in range(len(embeddings))]
    protocol = resolved(protocol, size=64, own_templates="none", own_threshold=None, pamr=False)
    return model_segment(model, words, (), protocol, network_size=runtime_size)


END_TO_END = arrays("protocol/tcl_end_to_end")


@pytest.mark.oracle
def test_thresholds_go_with_pamr_as_recorded() -> None:
    """Oracle: the reference's settings of both of its runs, on benchmarks with a background."""
    for tag, recorded in SMALL_SETTINGS.items():
        if tag.startswith("pamr"):
            protocol = replace(TCL_PROTOCOL, pamr="window" if recorded["pamr"] else "off")
            filled = resolved(protocol, size=64, own_templates="none", own_threshold=None, pamr=False)
            assert filled.threshold == recorded["bg_thresh"]


@pytest.mark.oracle
@pytest.mark.parametrize("key", sorted(key for key in END_TO_END if key.endswith(("_pred", "_scores"))))
def test_tcl_from_file_to_label_map(key: str, recorded_model: TCL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: TCL's own evaluation with its small model: scores 2e-5, labels where the margin is larger."""
    case, pamr, prior, background, _ = key.split("_")
    picture = Image.open(io.BytesIO(END_TO_END[f"{case}_file"].tobytes())).convert("RGB")
    protocol = replace(
        TCL_PROTOCOL,
        short_side=min(END_TO_END[f"{case}_input"].shape[1:]),
        window=SMALL_SETTINGS["crop"],
        stride=SMALL_SETTINGS["stride"],
        pamr="window" if pamr == "pamr1" else "off",
        kp_weight=float(prior.removeprefix("kp")),
        threshold=None if background == "nobg" else float(background.removeprefix("bg")),
    )
    with torch.inference_mode():
        np.testing.assert_allclose(prepared(picture, protocol)[0], END_TO_END[f"{case}_input"], rtol=0, atol=2e-5)
        masks = segment_with(recorded_model, END_TO_END[f"{case}_text"], protocol, monkeypatch)(picture)
    if key.endswith("_scores"):
        np.testing.assert_allclose(masks.words.numpy(), END_TO_END[key], rtol=0, atol=2e-5)
        return
    labels, margin = labels_of(masks, END_TO_END[key].shape, background != "nobg")
    check_labels(labels, margin, END_TO_END[key])


class TestSclip:
    """SCLIP's protocol. Oracle: labels and scores recorded from NACLIP's, SCLIP's and SC-CLIP's segmentors."""

    RECORDED = np.load(HEADS / "protocol_sclip.npz")

    def classes(self) -> tuple[list[Word], list[Word]]:
        index = self.RECORDED["query_index"].tolist()
        every = [
            Word(str(number), tuple(f"{number}.{place}" for place, other in enumerate(index) if other == number))
            for number in sorted(set(index))
        ]
        return every[1:], every[:1]

    def background_last(self, scores: np.ndarray) -> torch.Tensor:
        first = int((self.RECORDED["query_index"] == 0).sum())
        return torch.from_numpy(np.concatenate([scores[first:], scores[:first]]).astype(np.float32))

    @pytest.mark.oracle
    @pytest.mark.parametrize(
        ("logits", "labels", "settings"),
        [
            ("naclip_slide_pamr", "naclip_slide_pamr", {"softmax_scale": 40.0, "threshold": 0.1}),
            ("naclip_whole", "naclip_whole", {"softmax_scale": 40.0, "threshold": 0.1}),
            ("naclip_whole", "naclip_whole_threshold_0.3", {"softmax_scale": 40.0, "threshold": 0.3}),
            ("sclip_slide", "sclip_slide", {"softmax_scale": 65.0, "threshold": 0.1}),
            ("sclip_whole", "sclip_whole", {"softmax_scale": 65.0, "threshold": 0.1}),
            ("sclip_whole", "sclip_whole_area_0.1", {"softmax_scale": 65.0, "threshold": 0.1, "area_share": 0.1}),
            ("sclip_whole", "sclip_whole_area_0.3", {"softmax_scale": 65.0, "threshold": 0.1, "area_share": 0.3}),
            ("scclip_slide", "scclip_slide", {"softmax_scale": 40.0, "threshold": 0.1}),
        ],
    )
    def test_scores_become_labels(self, logits: str, labels: str, settings: dict[str, float]) -> None:
        words, background = self.classes()
        protocol = Protocol("sclip", **settings)
        scores = self.background_last(self.RECORDED[f"logits_{logits}"])
        masks = softmax_scores(scores, words, background, protocol)
        found, margin = labels_of(masks, scores.shape[1:], background=True)
        # Half of the scores were recorded in float16, which moves a probability by the scale times their rounding.
        halved = self.RECORDED[f"logits_{logits}"].dtype == np.float16
        check_labels(found, margin, self.RECORDED[f"labels_{labels}"], 2.5e-4 * settings["softmax_scale"] * halved)

    @pytest.mark.oracle
    def test_pamr_at_the_size_of_the_picture(self) -> None:
        """Oracle: the recorded scores before and after; float16 arrays, 1e-3."""
        image = torch.from_numpy(self.RECORDED["pamr_image_naclip_slide_pamr"])[None]
        before = torch.from_numpy(self.RECORDED["pamr_in_naclip_slide_pamr"].astype(np.float32))[None]
        after = refine(image, before, (8, 16), 10)[0]
        np.testing.assert_allclose(after.numpy(), self.RECORDED["logits_naclip_slide_pamr"], rtol=0, atol=1e-3)
        guide = resize(torch.from_numpy(self.RECORDED["image"].astype(np.float32)), image.shape[-2:])
        torch.testing.assert_close(guide, image, rtol=0, atol=1e-4)
        mean = torch.from_numpy(self.RECORDED["window_mean"].astype(np.float32))[None]
        torch.testing.assert_close(resize(mean, image.shape[-2:]), before, rtol=0, atol=1e-3)

    @pytest.mark.oracle
    def test_probabilities(self) -> None:
        words, background = self.classes()
        scores = torch.from_numpy(self.RECORDED["logits_naclip_slide_pamr"])
        found = class_probabilities(scores, [*background, *words], 40.0)
        found /= found.sum(dim=0)
        expected = self.RECORDED["probabilities_naclip_slide_pamr"].astype(np.float32)
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-3)

    def test_a_score_at_the_threshold_is_no_background(self) -> None:
        """By hand: two names, each has 0.5."""
        words, background = [Word("a", ("a",)), Word("b", ("b",))], []
        scores = torch.zeros(2, 1, 1)
        for threshold, label in ((0.5, 1), (0.5 + 1e-6, 0)):
            masks = softmax_scores(scores, words, background, Protocol("p", softmax_scale=1.0, threshold=threshold))
            assert int(labels_of(masks, (1, 1), background=True)[0]) == label


class TestSettings:
    def test_every_setting_can_be_changed(self) -> None:
        """By hand: one of each kind."""
        changed = overridden(
            TCL_PROTOCOL,
            [
                "window=none",
                "stride=7",
                "kp_weight=0.5",
                "pamr=picture",
                "pamr_dilations=8,16",
                "through_input=false",
                "templates=none",
                "short_side=336",
                "sizing=area",
                "softmax_scale=40",
            ],
        )
        assert changed.differences(TCL_PROTOCOL) == {
            "window": (None, 448),
            "stride": (7, 224),
            "kp_weight": (0.5, 0.3),
            "pamr": ("picture", "window"),
            "pamr_dilations": ([8, 16], [1, 2, 4, 8, 12, 24]),
            "through_input": (False, True),
            "templates": (None, "custom"),
            "short_side": (336, 448),
            "sizing": ("area", "short side"),
            "softmax_scale": (40.0, None),
        }
        assert json.loads(json.dumps(changed.settings()))["window"] is None

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("windows=3", "no setting 'windows=3': expected NAME=VALUE with one of sizing, "),
            ("window", "no setting 'window'"),
            ("name=x", "no setting 'name=x'"),
            ("window=big", "window=big: expected int or none"),
            ("stride=none", "stride=none: expected int"),
            ("pamr=yes", "pamr=yes: expected off, window, picture, runtime or none"),
            ("stride=449", "stride is 449 for a window of 448"),
            ("kp_weight=1.5", "kp_weight is 1.5: expected a share"),
            ("templates=nine", "no templates 'nine'"),
            ("pamr_dilations=", "expected dilations of 1 at least"),
            ("short_side=0", "short_side is 0"),
        ],
    )
    def test_wrong_ones_are_told(self, given: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            overridden(TCL_PROTOCOL, [given])

    def test_there_is_a_protocol_or_a_reason(self) -> None:
        for name in PROTOCOL_NAMES:
            for key in (*KEYS, None):
                try:
                    assert protocol_named(name, key).name == name
                except ConfigError as error:
                    assert "take" in str(error)  # noqa: PT017
        with pytest.raises(ConfigError, match="no protocol 'clip': expected one of tcl, "):
            protocol_named("clip", "voc")
        with pytest.raises(ConfigError, match="reco|ReCo"):
            protocol_named("reco", "cityscapes")

    def test_what_is_left_to_the_model_is_filled_in(self) -> None:
        """By hand: 0.4 goes with PAMR and 0.5 without, unless the model has its own."""
        whole = resolved(RUNTIME, size=416, own_templates="none", own_threshold=None, pamr=True)
        assert (whole.short_side, whole.templates, whole.pamr, whole.threshold) == (416, "none", "runtime", 0.4)
        off = resolved(replace(RUNTIME, pamr="off"), size=416, own_templates="none", own_threshold=None, pamr=True)
        assert (off.pamr, off.threshold) == ("off", 0.5)
        own = resolved(TCL_PROTOCOL, size=416, own_templates="none", own_threshold=0.6, pamr=False)
        assert (own.short_side, own.templates, own.pamr, own.threshold) == (448, "custom", "window", 0.6)
