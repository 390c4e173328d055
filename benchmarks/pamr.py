"""Mask refinement in C++ against PyTorch: python benchmarks/pamr.py

One thread each, processor time, in turns. Two PyTorch forms: `tcl_core.pamr`, which adds one neighbour after the other
and so needs little memory, and the published one, which holds all 48 neighbours of all classes at once.
"""

import numpy as np
import torch
from timing import cell, measure, parser_of, processor, report

from runtime.kernels.pamr import contenders, pamr
from tcl_core.pamr import NUM_ITERATIONS, affinity, neighbours, refine

CASES = ((4, 56), (21, 56), (4, 112), (21, 112), (60, 112))
SIDE = 224  # of the picture


def all_at_once(image: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    small = torch.nn.functional.interpolate(image, size=masks.shape[-2:], mode="bilinear", align_corners=True)
    weights = affinity(small).unsqueeze(1)  # (1,1,48,h,w)
    for _ in range(NUM_ITERATIONS):
        masks = (torch.stack(list(neighbours(masks)), dim=2) * weights).sum(2)
    return masks


def make_image(rng: np.random.Generator) -> np.ndarray:
    """Blocks of colour with a little noise, so that there are edges."""
    blocks = rng.integers(0, 256, (SIDE // 16, SIDE // 16, 3)).repeat(16, 0).repeat(16, 1)
    return (blocks + rng.integers(-6, 7, blocks.shape)).clip(0, 255).astype(np.uint8)


def make_masks(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Soft masks that overlap and of which many win nowhere, as a network gives them."""
    y, x = np.mgrid[0:side, 0:side] / side
    centre = rng.random((3, count, 1, 1))
    height = rng.random((count, 1, 1))
    return (height * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) * 30 * centre[2])).astype(np.float32)


def row(count: int, side: int) -> tuple[str, float]:
    rng = np.random.default_rng(0)
    image, masks = make_image(rng), make_masks(rng, count, side)
    picture = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))[None]
    tensor = torch.from_numpy(masks)[None]
    chosen = contenders(masks, background=0.4)
    times = measure(
        {
            "C++": lambda: pamr(masks, image),
            "contenders": lambda: pamr(masks, image, contenders=contenders(masks, background=0.4)),
            "PyTorch": lambda: refine(picture, tensor),
            "at once": lambda: all_at_once(picture, tensor),
        },
        turns=15,
    )
    fast = float(np.median(times["C++"]))
    ratios = [f"{np.median(times[name]) / fast:.1f}x" for name in ("PyTorch", "at once")]
    exact = refine(picture.double(), tensor.double())[0].numpy()
    error = float(np.abs(pamr(masks, image) - exact).max())
    cells = [cell(times["C++"]), cell(times["PyTorch"]), ratios[0], cell(times["at once"]), ratios[1]]
    cells += [f"{chosen.sum()} of {count}: {cell(times['contenders'])}", f"{error:.1e}"]
    text = f"| {count} | {side} | " + " | ".join(cells) + " |"
    return text, error


def main() -> None:
    output = parser_of(__doc__).parse_args().output
    torch.set_num_threads(1)
    lines = [
        "| N | grid | C++ ms | PyTorch ms | ratio | all at once ms | ratio | only what can win ms | error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for count, side in CASES:
        lines.append(row(count, side)[0])
        print(lines[-1], flush=True)
    report(
        output,
        "pamr.md",
        "# Mask refinement (PAMR)\n\n"
        f"`python benchmarks/pamr.py` on {processor()}, one thread each, PyTorch {torch.__version__.split('+')[0]}.\n\n"
        "Ten iterations over 48 neighbours at dilations 1 to 24. Medians of processor time, in brackets the middle "
        "half. `PyTorch` is `tcl_core.pamr`, one neighbour after the other; `all at once` holds the 48 neighbours of "
        "all classes in memory, as the published code does. `only what can win` leaves out masks that another one or a "
        "background of 0.4 exceeds everywhere, finding them included. Error: largest difference from PyTorch in double "
        "precision, of masks in [0, 1].\n\n" + "\n".join(lines) + "\n\n## What limits it\n\n"
        "A neighbour of a pixel of a class takes one load, one multiplication and one addition; three classes share "
        "the load of the weight. Two loads a cycle are what this processor does, and the weights alone (2.4 MB at "
        "112 x 112) are more than its second-level cache holds. Tried without gain: fused multiply-adds, which would "
        "also make the last bit depend on the processor; six and seven classes together; classes instead of pixels in "
        "the lanes; bands of rows. Leaving out classes block by block cannot gain much: ten steps of up to 24 pixels "
        "reach across the whole grid, so only the last steps would have less to do. Nor are there weights to leave "
        "out: of those too small to matter (5e-9), few are so for all pixels of a vector.\n",
    )


if __name__ == "__main__":
    main()
