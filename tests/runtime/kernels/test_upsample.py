"""Fused upsampling.

Oracles: the NumPy reference beside the code (exactly equal, to the last bit), closed forms, and PyTorch's
interpolate + argmax (equal wherever the two best values differ by more than rounding).
"""

import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime import _native
from runtime.kernels.labels import LabelMap, LabelRule, Paint, label_dtype
from runtime.kernels.reference import reference_blend, reference_upsample_argmax, reference_upsample_guided
from runtime.kernels.upsample import blend, node_brightness, upsample_argmax, upsample_guided, upsample_overlay

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 3e38, -3e38, 1e-45], np.float32)


def soft_masks(rng, count, height, width):
    """Smooth blobs, as a network gives them."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    centre = rng.random((3, count, 1, 1))
    return np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) * 20 * centre[2]).astype(np.float32)


def masks_of_kind(rng, kind, shape):
    if kind == "smooth":
        return soft_masks(rng, *shape)
    if kind == "tied":
        return rng.integers(0, 3, shape).astype(np.float32)
    masks = rng.standard_normal(shape).astype(np.float32)
    if kind == "special":
        chosen = rng.random(shape) < 0.2
        masks[chosen] = rng.choice(SPECIAL, int(chosen.sum()))
    return masks


def make_rule(rng, masks, case):
    """If asked for, thresholds that are some of the masks' own values, so that ties occur, and none here and there."""
    if not case["thresholded"]:
        return LabelRule(case["background"])
    thresholds = rng.choice(masks.ravel(), len(masks)).astype(np.float32)
    thresholds[np.isnan(thresholds) | (rng.random(len(masks)) < 0.2)] = -np.inf
    if case["background"] is None:
        thresholds[0] = -np.inf
    return LabelRule(case["background"], thresholds)


def assert_same(actual, expected):
    """The same labels, confidences and colours, or none where none are expected."""
    for name in ("labels", "confidence", "blended"):
        a, b = getattr(actual, name), getattr(expected, name)
        assert (a is None) == (b is None), name
        if b is not None:
            np.testing.assert_array_equal(a, b, err_msg=name)
            assert a.dtype == b.dtype


CASES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["smooth", "noise", "tied", "special"]),
        "shape": st.one_of(
            st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70)),
            st.tuples(st.integers(1, 300), st.integers(1, 9), st.integers(1, 9)),
        ),
        "size": st.tuples(st.integers(1, 70), st.integers(1, 70)) | st.tuples(st.just(19), st.integers(150, 400)),
        "background": st.none() | st.floats(-1, 1) | st.just(1e30),
        "half": st.booleans(),
        "thresholded": st.booleans(),
        "seed": st.integers(0, 2**32 - 1),
    }
)


@settings(max_examples=400, deadline=None)
@given(CASES)
def test_labels_confidence_and_colours_equal_the_reference(case):
    rng = np.random.default_rng(case["seed"])
    masks = masks_of_kind(rng, case["kind"], case["shape"])
    if case["half"]:
        with np.errstate(over="ignore"):
            masks = masks.astype(np.float16)
    frame = rng.integers(0, 256, (*case["size"], 3), np.uint8)
    rule = make_rule(rng, masks, case)
    classes = rule.num_classes(masks)
    paint = Paint(rng.integers(0, 256, (classes, 3), np.uint8), rng.random(), rng.choice([None, 0, classes - 1]))

    expected = reference_upsample_argmax(masks, case["size"], rule)
    labels, blended = expected.labels, reference_blend(frame, expected.labels, paint)

    assert labels.dtype == label_dtype(classes)
    assert_same(upsample_argmax(masks, case["size"], rule), LabelMap(labels))
    assert_same(upsample_argmax(masks, case["size"], rule, confidence=True), expected)
    assert_same(upsample_overlay(masks, frame, paint, rule), LabelMap(labels, None, blended))
    actual = upsample_overlay(masks, frame, paint, rule, confidence=True)
    assert_same(actual, LabelMap(labels, expected.confidence, blended))
    np.testing.assert_array_equal(blend(frame, labels, paint), blended)


@pytest.mark.parametrize("kind", ["smooth", "noise", "tied", "special"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 17), (21, 28, 33), (300, 7, 8)])
@pytest.mark.parametrize("size", [(1, 1), (67, 49), (200, 333)])
def test_every_path_gives_the_same(kind, shape, size):
    rng = np.random.default_rng(0)
    masks = masks_of_kind(rng, kind, shape)
    frame = rng.integers(0, 256, (*size, 3), np.uint8)
    paint = Paint(rng.integers(0, 256, (len(masks), 3), np.uint8), alpha=99 / 256)
    expected = reference_upsample_argmax(masks, size)
    for path in ("reference", "dense", "baseline", "fastest"):
        for with_confidence in (False, True):
            labels, confidence = np.empty_like(expected.labels), np.empty(size, np.uint8)
            blended = np.empty_like(frame)
            _native.upsample(
                masks,
                labels,
                confidence=confidence if with_confidence else None,
                frame=frame,
                colours=paint.colours,
                blended=blended,
                alpha_256=paint.alpha_256,
                path=path,
            )
            np.testing.assert_array_equal(labels, expected.labels, err_msg=path)
            if with_confidence:
                np.testing.assert_array_equal(confidence, expected.confidence, err_msg=path)
            np.testing.assert_array_equal(blended, reference_blend(frame, labels, paint))


SMALLEST = {"kind": "special", "shape": (1, 18, 1), "half": False, "thresholded": False, "seed": 1127}


@settings(max_examples=150, deadline=None)
@given(CASES, st.floats(0.1, 300))
@example({**SMALLEST, "size": (19, 150), "background": 0.0}, 1.0)  # a mean of 1e-45 rounds to 0, a tie
def test_guided_labels_confidence_and_colours_equal_the_reference(case, tolerance):
    rng = np.random.default_rng(case["seed"])
    masks = masks_of_kind(rng, case["kind"], case["shape"])
    frame = np.asarray(rng.integers(0, 256, (*case["size"], 3), np.uint8))
    rule = make_rule(rng, masks, case)
    paint = Paint(rng.integers(0, 256, (rule.num_classes(masks), 3), np.uint8), rng.random(), skip=0)
    brightness = node_brightness(frame, masks.shape[1:])
    expected = reference_upsample_guided(masks, frame, brightness, rule, tolerance=tolerance)
    blended = reference_blend(frame, expected.labels, paint)
    assert_same(upsample_guided(masks, frame, rule, tolerance=tolerance), LabelMap(expected.labels))
    assert_same(upsample_guided(masks, frame, rule, tolerance=tolerance, confidence=True), expected)
    actual = upsample_guided(masks, frame, rule, tolerance=tolerance, paint=paint, confidence=True)
    assert_same(actual, LabelMap(expected.labels, expected.confidence, blended))


def test_brightness_of_the_nodes_is_that_of_the_frame_around_them():
    frame = np.zeros((40, 40, 3), np.uint8)
    frame[:, 20:] = (100, 150, 200)
    assert node_brightness(frame, (4, 4)).tolist() == [[0, 20, 139, 159]] * 4


def test_guided_borders_follow_the_edges_and_without_edges_nothing_changes():
    frame = np.full((64, 64, 3), 20, np.uint8)
    frame[:, 36:] = 220
    masks = np.zeros((2, 8, 8), np.float32)
    masks[0, :, :4] = masks[1, :, 4:] = 1  # without a guide the border is at 32
    labels = upsample_guided(masks, frame).labels
    assert (labels[:, :35] == 0).mean() > 0.97
    assert (labels[:, 37:] == 1).all()
    flat = np.full((64, 64, 3), 20, np.uint8)
    assert_same(upsample_guided(masks, flat), upsample_argmax(masks, (64, 64)))


def test_threads_give_the_same():
    rng = np.random.default_rng(0)
    masks, size = soft_masks(rng, 21, 28, 28), (1025, 2049)
    frame = rng.integers(0, 256, (*size, 3), np.uint8)
    paint = Paint(rng.integers(0, 256, (21, 3), np.uint8), alpha=0.5)
    expected = upsample_overlay(masks, frame, paint, confidence=True)
    for threads in (2, 3, 64):
        assert_same(upsample_overlay(masks, frame, paint, LabelRule(threads=threads), confidence=True), expected)


@pytest.mark.parametrize("count", [1, 5, 60])
@pytest.mark.parametrize("size", [(480, 640), (30, 50), (225, 223), (1, 900)])
def test_labels_equal_torch(count, size):
    torch = pytest.importorskip("torch")
    masks = soft_masks(np.random.default_rng(count), count, 56, 50)
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(masks)[None], size=size, mode="bilinear")[0].numpy()
    result = upsample_argmax(masks, size, confidence=True)
    winners = np.take_along_axis(enlarged, result.labels[None].astype(np.int64), 0)[0]
    # The two may name different classes only where those are equal up to rounding: here 1e-6 of 1.
    np.testing.assert_array_less(enlarged.max(0) - winners, 1e-6)
    assert (result.labels != enlarged.argmax(0)).mean() < 1e-3
    np.testing.assert_allclose(result.confidence, winners * 255, atol=0.5 + 1e-3)


def test_a_step_moves_halfway_between_the_nodes():
    # Closed form: the two masks cross in the middle between node 0 and node 1, at pixel edge 4 of 8.
    masks = np.array([[[1, 0]], [[0, 1]]], np.float32)
    result = upsample_argmax(masks, (1, 8), confidence=True)
    assert result.labels.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert result.labels.dtype == np.uint8
    # Pixel x looks at coordinate (x + 0.5) / 4 - 0.5, clamped to [0, 1].
    expected = [255, 255, 223, 159, 159, 223, 255, 255]
    assert result.confidence.tolist() == [expected]


def test_equal_values_go_to_the_lowest_class():
    masks = np.full((5, 3, 3), 0.3, np.float32)
    assert not upsample_argmax(masks, (20, 20)).labels.any()
    assert not upsample_argmax(masks, (20, 20), LabelRule(background=0.3)).labels.any()


def test_background_is_class_zero():
    masks = np.zeros((2, 4, 4), np.float32)
    masks[1, :, 2:] = 1
    labels = upsample_argmax(masks, (40, 40), LabelRule(background=0.5)).labels
    assert set(np.unique(labels)) == {0, 2}
    assert (labels[:, :18] == 0).all()
    assert (labels[:, 22:] == 2).all()


def test_nan_never_wins_over_a_number():
    masks = np.full((3, 4, 4), np.nan, np.float32)
    masks[2] = -1e9
    assert (upsample_argmax(masks, (50, 50)).labels == 2).all()
    masks[2] = -np.inf
    result = upsample_argmax(masks, (50, 50), confidence=True)
    assert (result.labels == 2).all()
    assert not result.confidence.any()
    masks[0] = 0.5
    masks[0, 0, 0] = np.nan  # spreads as far as that node counts, and no further
    masks[2] = 0.1
    expected = np.zeros((8, 8))
    expected[:3, :3] = 2
    labels = upsample_argmax(masks, (8, 8)).labels
    assert labels[0, 0] == 2
    assert (labels[3:] == 0).all()
    assert (labels[:, 3:] == 0).all()


def test_only_nan_is_the_first_class_without_confidence():
    result = upsample_argmax(np.full((3, 2, 2), np.nan, np.float32), (9, 9), confidence=True)
    assert not result.labels.any()
    assert not result.confidence.any()


def test_a_mask_wins_only_above_its_threshold():
    # Closed form: at pixel edge x of 8 mask 0 is 0.9, mask 1 rises from 0.5 to 1.
    masks = np.array([[[0.9, 0.9]], [[0.5, 1.0]]], np.float32)
    values = 0.5 + 0.5 * ((np.arange(8) + 0.5) / 4 - 0.5).clip(0, 1)

    def labels(*thresholds, background=0.2):
        return upsample_argmax(masks, (1, 8), LabelRule(background, thresholds)).labels[0].tolist()

    assert labels(-np.inf, -np.inf) == np.where(values > 0.9, 2, 1).tolist()
    assert labels(0.95, 0.6) == np.where(values > 0.6, 2, 0).tolist()  # the better one is out
    assert labels(0.9, 1.0) == [0] * 8  # not exceeded: equal
    assert labels(0.5, np.inf) == [1] * 8
    assert labels(-np.inf, 0.7, background=None) == [0, 0, 0, 0, 0, 1, 1, 1]


def test_thresholds_of_minus_infinity_change_nothing_and_nan_exceeds_no_other():
    masks = soft_masks(np.random.default_rng(0), 5, 8, 8)
    masks[1, 2, 2] = np.nan
    none = LabelRule(thresholds=np.full(5, -np.inf))
    assert_same(upsample_argmax(masks, (60, 60), none), upsample_argmax(masks, (60, 60)))
    nan = np.full((1, 3, 3), np.nan, np.float32)
    assert (upsample_argmax(nan, (9, 9), LabelRule(-1e20, [-1e25])).labels == 0).all()


def test_infinity_wins_and_loses():
    masks = np.array([[[0.5]], [[np.inf]], [[-np.inf]]], np.float32)
    assert (upsample_argmax(masks, (3, 3)).labels == 1).all()
    assert (upsample_argmax(-masks, (3, 3)).labels == 2).all()


@pytest.mark.parametrize(("classes", "background", "dtype"), [(256, None, np.uint8), (256, 0.0, np.uint16)])
def test_labels_have_as_many_bits_as_the_classes_need(classes, background, dtype):
    masks = np.zeros((classes, 1, 1), np.float32)
    masks[-1] = 1
    labels = upsample_argmax(masks, (2, 2), LabelRule(background)).labels
    assert labels.dtype == dtype
    assert (labels == classes - 1 + (background is not None)).all()


def test_65535_classes_are_fine_and_one_more_is_not():
    masks = np.zeros((65535, 1, 1), np.float32)
    masks[-1] = 1
    assert (upsample_argmax(masks, (1, 2)).labels == 65534).all()
    with pytest.raises(ValueError, match="65536 classes given, expected at most 65535"):
        upsample_argmax(masks, (1, 2), LabelRule(background=0.5))


def test_unusual_memory_layouts_give_the_same_and_inputs_stay_as_they_are():
    rng = np.random.default_rng(0)
    masks = soft_masks(rng, 6, 9, 11)
    frame = rng.integers(0, 256, (40, 50, 3), np.uint8)
    colours = rng.integers(0, 256, (6, 3), np.uint8)
    expected = upsample_overlay(masks, frame, Paint(colours, alpha=0.5))

    padded = np.zeros((44, 60, 3), np.uint8)
    padded[2:42, 5:55] = frame
    for mask_view, frame_view in [
        (masks.transpose(0, 2, 1).copy().transpose(0, 2, 1), padded[2:42, 5:55]),
        (masks[::-1].copy()[::-1], frame[::-1].copy()[::-1]),
        (np.repeat(masks, 2, 2)[:, :, ::2], frame[:, ::-1].copy()[:, ::-1]),
        (masks.astype(">f4").astype("<f4"), frame[..., ::-1].copy()[..., ::-1]),
        (masks, np.asfortranarray(frame)),
    ]:
        colours_view = np.asfortranarray(colours)
        before = mask_view.copy(), frame_view.copy(), colours.copy()
        mask_view.flags.writeable = frame_view.flags.writeable = colours_view.flags.writeable = False
        assert_same(upsample_overlay(mask_view, frame_view, Paint(colours_view, alpha=0.5)), expected)
        for a, b in zip((mask_view, frame_view, colours_view), before, strict=True):
            np.testing.assert_array_equal(a, b)


def test_outputs_are_written_where_the_caller_says():
    rng = np.random.default_rng(0)
    masks, frame = soft_masks(rng, 6, 9, 11), rng.integers(0, 256, (40, 50, 3), np.uint8)
    colours = rng.integers(0, 256, (6, 3), np.uint8)
    paint = Paint(colours, alpha=0.5)
    first = upsample_overlay(masks, frame, paint, confidence=True)
    copies = LabelMap(first.labels.copy(), first.confidence.copy(), first.blended.copy())
    second = upsample_overlay(masks[::-1], frame, paint, confidence=True, out=first)
    third = upsample_overlay(masks, frame, paint, confidence=True, out=second)
    assert all(a is b for a, b in zip(vars(first).values(), vars(third).values(), strict=True))
    assert_same(third, copies)
    plain = upsample_argmax(masks[::-1], (40, 50), out=first)  # what it does not give is left alone
    assert plain.labels is first.labels
    assert plain.confidence is plain.blended is None
    np.testing.assert_array_equal(first.blended, copies.blended)
    guided = upsample_guided(masks, frame, paint=paint, out=LabelMap(first.labels, blended=first.blended))
    assert guided.labels is first.labels
    assert guided.blended is first.blended
    assert blend(frame, plain.labels, Paint(colours, alpha=1), out=first.blended) is first.blended
    np.testing.assert_array_equal(first.blended, colours[plain.labels])


def test_what_is_missing_among_the_outputs_is_allocated():
    frame = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    masks, paint = soft_masks(np.random.default_rng(0), 3, 9, 11), Paint(np.eye(3, dtype=np.uint8), alpha=0.5)
    expected = upsample_overlay(masks, frame, paint, confidence=True)
    labels = np.empty((40, 50), np.uint8)
    result = upsample_overlay(masks, frame, paint, confidence=True, out=LabelMap(labels))
    assert result.labels is labels
    assert_same(result, expected)


def test_skipped_class_leaves_the_frame_and_alpha_reaches_both_ends():
    frame = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    masks = np.array([[[1, 0]], [[0, 1]]], np.float32)
    colours = np.array([[1, 2, 3], [250, 251, 252]], np.uint8)
    result = upsample_overlay(masks, frame, Paint(colours, alpha=1, skip=0))
    np.testing.assert_array_equal(result.blended, np.where(result.labels[..., None] == 0, frame, colours[1]))
    np.testing.assert_array_equal(upsample_overlay(masks, frame, Paint(colours, alpha=0)).blended, frame)


def test_blending_is_within_one_of_exact_arithmetic():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (64, 64, 3), np.uint8)
    labels = rng.integers(0, 9, (64, 64)).astype(np.uint8)
    colours = rng.integers(0, 256, (9, 3), np.uint8)
    for alpha in (0.0, 0.1, 0.5, 0.777, 1.0):
        exact = frame + alpha * (colours[labels].astype(float) - frame)
        assert np.abs(blend(frame, labels, Paint(colours, alpha)) - exact).max() <= 1.0


def test_threads_may_work_at_the_same_time():
    masks = [soft_masks(np.random.default_rng(i), 21, 28, 28) for i in range(4)]
    expected = [upsample_argmax(m, (240, 320)).labels for m in masks]
    actual = [None] * 4

    def work(i):
        for _ in range(5):
            actual[i] = upsample_argmax(masks[i], (240, 320)).labels

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.stack(actual), np.stack(expected))


MASKS = np.zeros((2, 3, 3), np.float32)
FRAME = np.zeros((4, 5, 3), np.uint8)
COLOURS = np.zeros((2, 3), np.uint8)
LABELS, BLENDED = np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"background": float("nan")}, ValueError, "background nan given, expected a finite number"),
        ({"background": float("inf")}, ValueError, "background inf given"),
        ({"background": "wall"}, TypeError, "background 'wall' given, expected a number or None"),
        ({"thresholds": 0.5}, ValueError, r"thresholds of shape \(\) given, expected \(N,\), one for each mask"),
        ({"thresholds": []}, ValueError, r"thresholds of shape \(0,\) given, expected \(N,\), one for each mask"),
        ({"thresholds": [np.nan, 0], "background": 0}, ValueError, "thresholds: NaN given"),
        ({"thresholds": ["a", "b"]}, TypeError, "thresholds: <U1 given, expected numbers"),
        ({"thresholds": [0.5, 0.5]}, ValueError, r"without background given, and thresholds\[0\] is 0.5"),
        ({"threads": 0}, ValueError, "threads 0 given, expected at least 1"),
        ({"threads": 1.5}, TypeError, "threads 1.5 given, expected an integer"),
    ],
)
def test_a_wrong_rule_is_refused_when_it_is_made(arguments, error, message):
    with pytest.raises(error, match=message):
        LabelRule(**arguments)


def test_a_rule_keeps_what_was_checked():
    thresholds = np.array([0.1, 0.2])
    rule = LabelRule(background=1e30, thresholds=thresholds)
    thresholds[:] = np.nan
    assert rule.background == 1e20
    np.testing.assert_array_equal(rule.thresholds, np.array([0.1, 0.2], np.float32))
    with pytest.raises(ValueError, match="read-only"):
        rule.thresholds[0] = np.nan


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"colours": COLOURS.astype(int)}, TypeError, "colours: int64 array given, expected a uint8 array"),
        ({"colours": COLOURS[0]}, ValueError, r"colours of shape \(3,\) given, expected \(K, 3\)"),
        ({"alpha": 1.5}, ValueError, "alpha 1.5 given, expected 0 to 1"),
        ({"alpha": float("nan")}, ValueError, "alpha nan given, expected 0 to 1"),
        ({"alpha": "half"}, ValueError, "alpha 'half' given, expected 0 to 1"),
        ({"skip": 2}, ValueError, "skip 2 given, expected None or a class from 0 to 1"),
    ],
)
def test_a_wrong_paint_is_refused_when_it_is_made(arguments, error, message):
    with pytest.raises(error, match=message):
        Paint(**{"colours": COLOURS, "alpha": 0.5, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"masks": MASKS.tolist()}, TypeError, "masks: list given, expected a float32 or float16 array"),
        ({"masks": MASKS.astype(np.float64)}, TypeError, "masks: float64 array given"),
        ({"masks": MASKS[0]}, ValueError, r"masks of shape \(3, 3\) given, expected \(N, h, w\)"),
        ({"masks": MASKS[:0]}, ValueError, r"masks of shape \(0, 3, 3\) given, .* at least one mask"),
        ({"masks": MASKS[:, :0]}, ValueError, r"masks of shape \(2, 0, 3\) given, .* sides of 1"),
        ({"masks": np.zeros((1, 1, 65536), np.float16)}, ValueError, "sides of 1 to 65535"),
        ({"size": (4,)}, ValueError, r"size \(4,\) given, expected \(height, width\)"),
        ({"size": 4}, ValueError, r"size 4 given, expected \(height, width\)"),
        ({"size": (4.0, 5)}, TypeError, r"size \(4.0, 5\) given, expected two integers"),
        ({"size": (True, 5)}, TypeError, "expected two integers"),
        ({"size": (0, 5)}, ValueError, "expected a height and a width of 1 to 65535"),
        ({"size": (4, -1)}, ValueError, "expected a height and a width of 1 to 65535"),
        ({"size": (65536, 1)}, ValueError, "expected a height and a width of 1 to 65535"),
        ({"size": (1, 2**70)}, ValueError, "expected a height and a width of 1 to 65535"),
        (
            {"rule": LabelRule(0.5, [0.5])},
            ValueError,
            r"thresholds of shape \(1,\) given, expected \(2,\), one for each",
        ),
        ({"out": LABELS}, TypeError, "out: uint8 array given, expected a LabelMap, as an earlier call returned it"),
        ({"out": LabelMap(LABELS.astype(np.uint16))}, TypeError, "labels: uint16 array given, expected a uint8 array"),
        ({"out": LabelMap(LABELS.T)}, ValueError, r"out.labels: shape \(5, 4\) given, expected \(4, 5\) uint8"),
        ({"out": LabelMap(np.zeros((4, 10), np.uint8)[:, ::2])}, ValueError, "contiguous and writable"),
        (
            {"out": LabelMap(LABELS, BLENDED), "confidence": True},
            ValueError,
            r"out.confidence: shape \(4, 5, 3\) given",
        ),
    ],
)
def test_wrong_arguments_of_upsample_argmax_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        upsample_argmax(**{"masks": MASKS, "size": (4, 5), **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"frame": FRAME.astype(np.float32)}, TypeError, "frame: float32 array given, expected a uint8 array"),
        ({"frame": FRAME[..., :2]}, ValueError, r"frame of shape \(4, 5, 2\) given, expected \(H, W, 3\)"),
        ({"frame": FRAME[..., 0]}, ValueError, r"frame of shape \(4, 5\) given, expected \(H, W, 3\)"),
        ({"frame": FRAME[:0]}, ValueError, "sides of 1 to 65535"),
        ({"paint": Paint(COLOURS[:1], 0.5)}, ValueError, "1 colours given, expected one for each of the 2 classes"),
        ({"rule": LabelRule(0.5)}, ValueError, "2 colours given, expected one for each of the 3 classes"),
        ({"out": LabelMap(LABELS, blended=FRAME)}, ValueError, "out.blended: overlaps the frame"),
    ],
)
def test_wrong_arguments_of_upsample_overlay_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        upsample_overlay(**{"masks": MASKS, "frame": FRAME, "paint": Paint(COLOURS, 0.5), **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": np.zeros((4, 5), np.int64)}, TypeError, "labels: int64 array given"),
        ({"labels": np.zeros((5, 4), np.uint8)}, ValueError, r"expected \(4, 5\) like the frame"),
        ({"labels": np.full((4, 5), 2, np.uint16)}, ValueError, "expected each below the number of colours"),
        ({"out": FRAME}, ValueError, "out: overlaps the frame"),
    ],
)
def test_wrong_arguments_of_blend_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        blend(**{"frame": FRAME, "labels": LABELS, "paint": Paint(COLOURS, 0.5), **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": 0.0}, "tolerance 0.0 given, expected a number over 0"),
        ({"frame": FRAME[0]}, r"expected \(H, W, 3\)"),
        ({"masks": MASKS[:0]}, "at least one mask"),
        ({"out": LabelMap(FRAME[..., 0].reshape(4, 5))}, "out.labels: "),
    ],
)
def test_wrong_arguments_of_upsample_guided_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        upsample_guided(**{"masks": MASKS, "frame": FRAME, **arguments})


def test_result_that_cannot_be_allocated_is_a_memory_error():
    resource = pytest.importorskip("resource")
    used = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**32, used[1]))
    try:
        with pytest.raises(MemoryError):
            upsample_argmax(np.zeros((300, 1, 1), np.float32), (65535, 65535))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, used)


PAINT = {"frame": FRAME, "colours": COLOURS, "blended": BLENDED, "alpha_256": 128}
GUIDE = {"guide": FRAME, "brightness": np.zeros((3, 3), np.uint8), "likeness": np.ones(256, np.float32)}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"masks": MASKS.astype(np.float64)}, ValueError, "masks: expected float32 or float16"),
        ({"masks": MASKS[0]}, ValueError, "masks: expected .N, h, w., not empty"),
        ({"masks": MASKS[:, ::2]}, ValueError, "masks: expected contiguous memory"),
        ({"masks": np.zeros((257, 1, 1), np.float32)}, ValueError, "labels: too few bits for the classes"),
        ({"masks": np.zeros((65536, 1, 1), np.float32)}, ValueError, "masks: expected at most 65535"),
        ({"labels": LABELS[:0]}, ValueError, "labels: expected .height, width., not empty"),
        ({"labels": LABELS.astype(np.int32)}, TypeError, "incompatible function arguments"),
        ({"confidence": LABELS[:2].copy()}, ValueError, "confidence: expected .height, width. like the labels"),
        ({**PAINT, "frame": FRAME[:3]}, ValueError, "frame: expected .height, width, 3. like the labels"),
        ({**PAINT, "frame": None}, ValueError, "frame and colours: expected with blended"),
        ({**PAINT, "colours": COLOURS[:1]}, ValueError, "colours: expected one row a class"),
        ({**PAINT, "alpha_256": 257}, ValueError, "alpha_256: expected 0 to 256"),
        ({**PAINT, "blended": BLENDED[:3].copy()}, ValueError, "blended: expected .height, width, 3. like the labels"),
        ({**GUIDE, "guide": FRAME[:3]}, ValueError, "guide: expected .height, width, 3. like the labels"),
        ({**GUIDE, "brightness": np.zeros((3, 2), np.uint8)}, ValueError, "brightness: expected .h, w. like the masks"),
        ({**GUIDE, "likeness": np.ones(255, np.float32)}, ValueError, "likeness: expected 256 numbers"),
        ({"thresholds": np.zeros(2, np.float32)}, ValueError, "thresholds: expected a background, or -inf for mask 0"),
        ({"thresholds": np.zeros(3, np.float32)}, ValueError, "thresholds: expected one number a mask"),
        ({"threads": 0}, ValueError, "threads: expected at least 1"),
        ({"path": "quick"}, ValueError, "path: expected fastest, reference, dense or baseline"),
    ],
)
def test_the_extension_itself_refuses_what_would_crash(arguments, error, message):
    with pytest.raises(error, match=message):
        _native.upsample(**{"masks": MASKS, "labels": LABELS, **arguments})
