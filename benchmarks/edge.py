"""Edge-aware upsampling against plain, and against the same in PyTorch: python benchmarks/edge.py

Soft masks (N,56,56) to labels of a frame. One thread each, processor time, in turns.
"""

import cv2
import numpy as np
import torch
from timing import cell, measure, parser_of, processor, report

from runtime.kernels.labels import LabelMap
from runtime.kernels.reference import likeness_table
from runtime.kernels.upsample import node_brightness, upsample_argmax, upsample_guided

GRID = 56
SIZES = {"480p": (480, 640), "720p": (720, 1280), "1080p": (1080, 1920)}
COUNTS = (5, 21)


def make_masks(count: int) -> np.ndarray:
    coarse = np.random.default_rng(0).standard_normal((count, 7, 7)).astype(np.float32)
    fields = np.stack([cv2.resize(field, (GRID, GRID), interpolation=cv2.INTER_CUBIC) for field in coarse])
    return (1 / (1 + np.exp(-3 * fields.clip(-9, 9)))).astype(np.float32)


def make_frame(size: tuple[int, int]) -> np.ndarray:
    """Blobs of brightness with a little noise."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (size[0] // 40, size[1] // 40, 3)).astype(np.uint8)
    frame = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return (frame + rng.integers(-4, 5, frame.shape)).clip(0, 255).astype(np.uint8)


def in_torch(masks: torch.Tensor, frame: torch.Tensor, nodes: torch.Tensor, likeness: torch.Tensor) -> torch.Tensor:
    """Four weights a pixel, then a running maximum over the classes."""
    height, width = frame.shape[:2]

    def taps(pixels: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        at = ((torch.arange(pixels) + 0.5) * length / pixels - 0.5).clamp(0, length - 1)
        low = at.long()
        return low, (low + 1).clamp(max=length - 1), at - low

    top, bottom, down = taps(height, GRID)
    left, end, right = taps(width, GRID)
    grey = (frame.int() * torch.tensor([29, 150, 77])).sum(2) + 128 >> 8
    corners = []
    for y, vertical in ((top, 1 - down), (bottom, down)):
        for x, horizontal in ((left, 1 - right), (end, right)):
            at = y[:, None] * GRID + x
            alike = likeness[(grey - nodes.flatten()[at]).abs()]
            corners.append((at, vertical[:, None] * horizontal * alike))
    best = torch.full((height, width), -torch.inf)
    labels = torch.zeros((height, width), dtype=torch.uint8)
    for n, mask in enumerate(masks.flatten(1)):
        value = sum(weight * mask[at] for at, weight in corners)
        labels.masked_fill_(value > best, n)
        torch.maximum(best, value, out=best)
    return labels


def main() -> None:
    output = parser_of(__doc__).parse_args().output
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    lines = [
        "| N | frame | edge-aware ms | plain ms | times plain | PyTorch ms | ratio | same label |",
        "|---" * 8 + "|",
    ]
    for count in COUNTS:
        masks = make_masks(count)
        for name, size in SIZES.items():
            frame, out = make_frame(size), LabelMap(np.empty(size, np.uint8))
            tensors = (
                torch.from_numpy(masks),
                torch.from_numpy(frame),
                torch.from_numpy(node_brightness(frame, (GRID, GRID))).int(),
                torch.from_numpy(likeness_table(20.0)),
            )
            times = measure(
                {
                    "edge": lambda masks=masks, frame=frame, out=out: upsample_guided(masks, frame, out=out),
                    "plain": lambda masks=masks, size=size, out=out: upsample_argmax(masks, size, out=out),
                    "torch": lambda tensors=tensors: in_torch(*tensors),
                },
                turns=15,
            )
            edge, plain, other = (float(np.median(times[key])) for key in ("edge", "plain", "torch"))
            same = float((in_torch(*tensors).numpy() == upsample_guided(masks, frame).labels).mean())
            lines.append(
                f"| {count} | {name} | {cell(times['edge'])} | {cell(times['plain'])} | {edge / plain:.1f} "
                f"| {other:.1f} | {other / edge:.0f}x | {same:.4%} |"
            )
            print(lines[-1], flush=True)
    report(
        output,
        "edge.md",
        "# Edge-aware upsampling\n\n"
        f"`python benchmarks/edge.py` on {processor()}, one thread each, PyTorch {torch.__version__.split('+')[0]}.\n\n"
        "Soft masks (N,56,56) to labels whose borders follow the brightness of the frame. Medians of processor time in "
        "ms, in brackets the middle half. The brightness around the nodes, an average of the whole frame, is part of "
        "the time. PyTorch: the same formula with four lookups a pixel and class.\n\n" + "\n".join(lines) + "\n",
    )


if __name__ == "__main__":
    main()
