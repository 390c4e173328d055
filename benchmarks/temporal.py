"""Key frames and smoothing on real clips: python benchmarks/temporal.py [CLIP ...] [--classes WORDS]

What is lost: the share of pixels whose label is that of the network on the same frame. Beside flow: the last key
frame's masks as they are, and its labels warped instead of its masks. What is gained: processor time of the network, of
a warped frame, and of the whole on average, taken in turns. How calm it is: the share of pixels that change their label
from one frame to the next.
"""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from timing import parser_of, report

from runtime import Segmenter
from runtime.kernels.labels import LabelRule, Paint
from runtime.kernels.upsample import upsample_argmax, upsample_overlay
from runtime.sources.open import open_source
from runtime.temporal import DenseInverseSearch, Keyframes, MovingAverage, small_grey, warp

INTERVALS = (2, 3, 5, 8)
WEIGHTS = (0.3, 0.6, 0.8)
CLASSES = "car, road|ground|asphalt"
Labels = list[np.ndarray]


def no_motion(now: np.ndarray, then: np.ndarray) -> np.ndarray:
    return np.zeros((*now.shape, 2), np.float32)


def labels_of(masks: Sequence[np.ndarray], size: tuple[int, int], constant: float | None) -> Labels:
    rule = LabelRule(constant)
    return [upsample_argmax(one, size, rule).labels for one in masks]


def with_keyframes(masks: list[np.ndarray], small: list[np.ndarray], interval: int, flow: object) -> list[np.ndarray]:
    keyframes = Keyframes(interval, flow)
    return [keyframes(grey, lambda one=one: one) for grey, one in zip(small, masks, strict=True)]


def with_warped_labels(labels: Labels, small: list[np.ndarray], interval: int) -> Labels:
    """What one would do without soft masks: look each pixel's label up where the flow leads."""
    flow, result = DenseInverseSearch(), []
    height, width = labels[0].shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    for i, grey in enumerate(small):
        key = i // interval * interval
        if i == key:
            result.append(labels[i])
            continue
        ways = cv2.resize(flow(grey, small[key]), (width, height))
        right, down = x + ways[..., 0] * width / grey.shape[1], y + ways[..., 1] * height / grey.shape[0]
        result.append(cv2.remap(labels[key], right, down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE))
    return result


def agreement(labels: Labels, expected: Labels, frames: Sequence[int]) -> float:
    return float(np.mean([np.mean(labels[i] == expected[i]) for i in frames]))


def restlessness(labels: Labels) -> float:
    return float(np.mean([np.mean(a != b) for a, b in itertools.pairwise(labels)]))


def taken_ms(frames: list[np.ndarray], segmenter: Segmenter, masks: list[np.ndarray]) -> dict[str, float]:
    """Median processor time of the two ways to a frame's masks, and of all that follows."""
    flow, first, then = DenseInverseSearch(), segmenter(frames[0]), small_grey(frames[0])
    words = segmenter._words.vocabulary
    paint, rule = Paint(first.colours, alpha=0.5), LabelRule(first.threshold)

    def network(i: int) -> None:
        image = segmenter._preprocess(frames[i])
        words.merge(segmenter._engine.infer({"image": image, "text": words.embeddings})["masks"][0])

    def carried(i: int) -> None:
        warp(masks[0], flow(small_grey(frames[i]), then))

    def finish(i: int) -> None:
        upsample_overlay(masks[i], frames[i], paint, rule)

    calls = {"network": network, "flow": carried, "finish": finish}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(min(len(frames), 40)):
        for name, call in calls.items():
            begin = time.process_time()
            call(i)
            times[name].append(1000 * (time.process_time() - begin))
    return {name: float(np.median(taken)) for name, taken in times.items()}


def table(clip: str, classes: str, limit: int) -> str:
    frames = [frame.image for frame in itertools.islice(open_source(clip), limit)]
    size = frames[0].shape[:2]
    with Segmenter("tiny", classes=classes, threads=1) as segmenter:
        results = [segmenter(frame) for frame in frames]
        masks, constant = [result.soft_masks for result in results], results[0].threshold
        taken = taken_ms(frames, segmenter, masks)
    small = [small_grey(frame) for frame in frames]
    every = labels_of(masks, size, constant)
    moving = [i for i in range(1, len(frames)) if not np.array_equal(frames[i], frames[i - 1])]
    lines = [
        f"{len(frames)} frames of {size[1]} x {size[0]}, words `{classes}`, masks {masks[0].shape[1:]}. Processor time "
        f"a frame: network {taken['network']:.1f} ms, or small picture, flow and warp {taken['flow']:.2f} ms; then "
        f"labels and overlay {taken['finish']:.2f} ms. The network itself changes {restlessness(every):.2%} of the "
        "labels from frame to frame.\n",
        "| network every | same label: flow | last masks | labels warped | only frames between: flow | last masks | "
        "changes a frame | faster |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for interval in INTERVALS:
        flowed = labels_of(with_keyframes(masks, small, interval, DenseInverseSearch()), size, constant)
        held = labels_of(with_keyframes(masks, small, interval, no_motion), size, constant)
        warped = with_warped_labels(every, small, interval)
        between = [i for i in moving if i % interval]
        after = taken["finish"]
        mean = after + (taken["network"] + (interval - 1) * taken["flow"]) / interval
        lines.append(
            f"| {interval} | {agreement(flowed, every, range(len(frames))):.2%} "
            f"| {agreement(held, every, range(len(frames))):.2%} | {agreement(warped, every, range(len(frames))):.2%} "
            f"| {agreement(flowed, every, between):.2%} | {agreement(held, every, between):.2%} "
            f"| {restlessness(flowed):.2%} | {(after + taken['network']) / mean:.1f}x |"
        )
    lines += ["", "| weight of the past | same label | changes a frame |", "|---|---|---|"]
    for weight in WEIGHTS:
        average = MovingAverage(weight)
        smooth = labels_of([average(one) for one in masks], size, constant)
        lines.append(f"| {weight} | {agreement(smooth, every, range(len(frames))):.2%} | {restlessness(smooth):.2%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("clips", nargs="*", help="other clips than the shipped one; no report")
    parser.add_argument("--classes", default=CLASSES)
    parser.add_argument("--frames", type=int, default=120, help="of each clip, at most")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for clip in arguments.clips:
        print(f"## {Path(clip).name}\n\n{table(clip, arguments.classes, arguments.frames)}", flush=True)
    if arguments.clips:
        return
    text = table("test://cars", arguments.classes, arguments.frames)
    report(
        arguments.output,
        "temporal.md",
        "# Key frames and smoothing\n\n`python benchmarks/temporal.py`: the shipped clip and model, one thread, OpenCV "
        f"{cv2.__version__}.\n\n{text}\n"
        "Agreement is with the labels that the network gives for every frame by itself. The first columns count all "
        "frames, key frames included; `only frames between` leaves them out, and pictures that equal the one before. "
        "`last masks`: the key frame's, not warped. `labels warped`: the key frame's labels instead of its masks.\n\n"
        "Read the loss against how much the network changes its own mind: labels that differ from it on the same frame "
        "are not all worse. The speed counts masks, labels and overlay, without decoding and encoding.\n",
    )


if __name__ == "__main__":
    main()
