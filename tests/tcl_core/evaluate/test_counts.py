"""Pixels counted. Oracles: mmsegmentation's counts, torchmetrics, the recorded evaluation of eight benchmarks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

from tcl_core import TCL
from tcl_core.evaluate.counts import ClassCounts, count_pixels, stacked
from tcl_core.evaluate.evaluation import evaluate
from tcl_core.evaluate.label_tables import reduced
from tcl_core.evaluate.layouts import KEYS, open_benchmark
from tcl_core.evaluate.names import has_background
from tcl_core.evaluate.protocols import TCL as TCL_PROTOCOL
from tcl_core.evaluate.soft_masks import SoftMasks
from tcl_core.pictures import open_picture
from tests.tcl_core.evaluate.conftest import EVAL, arrays, cases
from tests.tcl_core.evaluate.test_protocol import SMALL_SETTINGS, check_labels, labels_of, segment_with

VOID = 255


def histograms(counts: ClassCounts) -> np.ndarray:
    """(P,4,N) in the order of the reference: intersection, union, prediction, label."""
    return torch.stack([counts.intersection, counts.union, counts.prediction, counts.label], dim=1).numpy()


RECORDED = arrays("protocol/metrics")


@pytest.mark.oracle
@pytest.mark.parametrize("case", cases(RECORDED, "num_classes"))
def test_counts_are_those_of_mmsegmentation(case: str) -> None:
    """Histograms equal; IoU and accuracies 1e-6 (it sums in float32), NaN where it has NaN."""
    recorded = {key.removeprefix(f"{case}_"): value for key, value in RECORDED.items() if key.startswith(f"{case}_")}
    labels, num_classes = recorded["labels"], int(recorded["num_classes"])
    if recorded["reduce_zero_label"]:
        labels = reduced(np.arange(256, dtype=np.uint8))[labels]
    counts = stacked(
        [
            count_pixels(torch.from_numpy(label).long(), torch.from_numpy(predicted).long(), num_classes, VOID)
            for label, predicted in zip(labels, recorded["preds"], strict=True)
        ]
    )
    np.testing.assert_array_equal(histograms(counts), recorded["histograms"])
    summed = counts.summed()
    for ours, theirs in (
        (summed.iou.numpy(), "iou"),
        (summed.accuracy.numpy(), "acc"),
        (summed.mean_iou, "miou"),
        (summed.mean_accuracy, "macc"),
        (summed.pixel_accuracy, "aacc"),
    ):
        if theirs in recorded:
            np.testing.assert_allclose(ours, recorded[theirs], rtol=0, atol=1e-6)
    if "miou_reported" in recorded:
        assert round(100 * summed.mean_iou, 2) == pytest.approx(float(recorded["miou_reported"]))


@pytest.mark.oracle
def test_labels_that_are_no_class() -> None:
    """Oracle: mmsegmentation: they drop out of the labels, and what is predicted there stays."""
    theirs = RECORDED["oor_histograms"]
    labels, predictions = (torch.from_numpy(RECORDED[f"oor_{name}"]).long() for name in ("labels", "preds"))
    counts = count_pixels(labels, predictions, theirs.shape[-1], VOID)
    ours = torch.stack([counts.intersection, counts.union, counts.prediction, counts.label]).numpy()
    np.testing.assert_array_equal(ours, theirs.reshape(ours.shape))
    np.testing.assert_allclose(counts.iou.numpy(), RECORDED["oor_iou"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(counts.pixel_accuracy, RECORDED["oor_aacc"], rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 10_000))
def test_counts_are_those_of_torchmetrics(num_classes: int, num_pixels: int, seed: int) -> None:
    """Oracle: its confusion matrix and Jaccard index, with void pixels and classes that occur nowhere."""
    generator = torch.Generator().manual_seed(seed)
    occurring = int(torch.randint(1, num_classes + 1, (1,), generator=generator))
    truth = torch.randint(occurring, (num_pixels,), generator=generator)
    truth[torch.rand(num_pixels, generator=generator) < 0.2] = VOID
    predicted = torch.randint(num_classes, (num_pixels,), generator=generator)
    counts = count_pixels(truth, predicted, num_classes, VOID)
    confusion = multiclass_confusion_matrix(predicted, truth, num_classes, ignore_index=VOID)
    assert torch.equal(counts.intersection, confusion.diagonal())
    assert torch.equal(counts.label, confusion.sum(dim=1))
    assert torch.equal(counts.prediction, confusion.sum(dim=0))
    theirs = multiclass_jaccard_index(predicted, truth, num_classes, average="none", ignore_index=VOID).double()
    known = counts.union > 0  # where a class is nowhere it says 0 and we say unknown
    torch.testing.assert_close(counts.iou[known], theirs[known], rtol=0, atol=1e-6)
    assert counts.iou[~known].isnan().all()
    if known.any():
        assert counts.share_of_zeros == pytest.approx(float((theirs[known] == 0).double().mean()))


def names_of(key: str) -> list[str]:
    """Names by which the recorded arrays call a benchmark's pictures, in order."""
    recorded = json.loads((EVAL / "datasets" / "expected.json").read_text())["benchmarks"]
    return [str(Path(image).with_suffix("")) for image in recorded[key]["images"]]


def in_our_order(recorded: np.ndarray, key: str) -> np.ndarray:
    """Put a background, which the reference counts first, last."""
    return np.roll(recorded, -1, axis=-1) if has_background(key) else recorded


def given_predictions(key: str, predictions: dict[str, np.ndarray], names: list[str], num_words: int):
    """A model that says what was recorded, picture after picture."""
    waiting = iter(names)

    def segment(_: object) -> SoftMasks:
        labels = torch.from_numpy(predictions[f"{key}/{next(waiting)}"]).long()
        first = int(has_background(key))
        masks = torch.stack([(labels == index + first).float() for index in range(num_words)])
        return SoftMasks(masks, torch.full(masks.shape[1:], 0.5))

    return segment


@pytest.mark.oracle
@pytest.mark.parametrize("key", KEYS)
def test_given_predictions_are_counted_as_recorded(key: str, eval_data: Path) -> None:
    """Oracle: mmsegmentation's histograms of every picture, through the real readers; equal. Figures 1e-6."""
    expected, predictions = arrays("datasets/expected"), arrays("datasets/predictions")
    benchmark = open_benchmark(eval_data, key)
    names = names_of(key)
    found = evaluate(given_predictions(key, predictions, names, len(benchmark.words)), benchmark)
    np.testing.assert_array_equal(histograms(found.counts), in_our_order(expected[f"{key}/histograms_per_image"], key))
    summed = found.counts.summed()
    np.testing.assert_allclose(summed.iou, in_our_order(expected[f"{key}/iou"], key), rtol=0, atol=1e-6)
    np.testing.assert_allclose(summed.accuracy, in_our_order(expected[f"{key}/acc"], key), rtol=0, atol=1e-6)
    for ours, name in ((summed.mean_iou, "miou"), (summed.mean_accuracy, "macc"), (summed.pixel_accuracy, "aacc")):
        assert ours == pytest.approx(float(expected[f"{key}/{name}"]), abs=1e-6)
    own = next(
        tally for tally in found.tallies if not tally.present_only and tally.background == benchmark.has_background
    )
    assert float(own.scored(benchmark.has_background).nanmean()) == pytest.approx(summed.mean_iou)
    assert found.figures()["benchmark"]["mean_iou"] == round(summed.mean_iou, 6)


SMALL = arrays("datasets/tcl_small")


@pytest.mark.oracle
@pytest.mark.parametrize("tag", [tag for tag in SMALL_SETTINGS if tag.startswith("pamr")])
@pytest.mark.parametrize("key", KEYS)
def test_the_small_tcl_on_every_benchmark(
    key: str, tag: str, eval_data: Path, recorded_model: TCL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: TCL's own evaluation from file to mIoU. Labels equal but where the first two are within 2e-5."""
    benchmark = open_benchmark(eval_data, key)
    protocol = replace(
        TCL_PROTOCOL,
        short_side=min(SMALL_SETTINGS["img_scale"]),
        long_side=max(SMALL_SETTINGS["img_scale"]),
        window=SMALL_SETTINGS["crop"],
        stride=SMALL_SETTINGS["stride"],
        kp_weight=SMALL_SETTINGS["kp_w"],
        pamr="window" if SMALL_SETTINGS[tag]["pamr"] else "off",
        threshold=SMALL_SETTINGS[tag]["bg_thresh"],
    )
    segment = segment_with(recorded_model, SMALL[f"{key}/text_embedding"], protocol, monkeypatch)
    near = 0
    counts = []
    for picture, name in zip(benchmark.pictures, names_of(key), strict=True):
        expected = SMALL[f"{key}/{tag}/{name}"]
        with torch.inference_mode():
            masks = segment(open_picture(picture.image))
        labels, margin = labels_of(masks, expected.shape, benchmark.has_background)
        check_labels(labels, margin, expected)
        near += int((labels.numpy() != expected).sum())
        truth = torch.from_numpy(benchmark.truth(picture)).long()
        num_words = len(benchmark.words)
        if benchmark.has_background:
            labels = torch.where(labels == 0, num_words, labels - 1)
        counts.append(count_pixels(truth, labels, len(benchmark.names), VOID))
    ours, theirs = histograms(stacked(counts)), in_our_order(SMALL[f"{key}/{tag}/histograms_per_image"], key)
    assert np.abs(ours - theirs).sum() <= 4 * near  # a flipped pixel moves its two classes
    if not near:
        assert stacked(counts).summed().mean_iou == pytest.approx(float(SMALL[f"{key}/{tag}/miou"]), abs=1e-6)
