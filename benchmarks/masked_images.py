"""What does the frozen tower make of a thing that its true mask cuts out, as TCL_v gives it to the tower?

    python benchmarks/masked_images.py MSRC_V2 --split dev --without horse --without mountain

For every class that covers enough of a picture: the picture outside the mask is filled in some way, the tower encodes
it, and the nearest of all words is its answer. Printed are the share of right answers and by how much the cosine with
the right word exceeds the mean over all words, averaged over classes that are seen often enough. Masks serve to look
at the tower here; nothing is trained.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from tcl_core.encoder import Preprocess
from tcl_core.evaluate.benchmarks import Benchmark
from tcl_core.evaluate.folder import open_folder
from tcl_core.model import TCL
from tcl_core.tiny.file import load_tiny

FloatArray = npt.NDArray[np.float32]
BLUR = 31
"""Side in pixels of the mean that blurs."""


def fills(rgb: FloatArray, mask: npt.NDArray[np.bool_]) -> dict[str, FloatArray]:
    """Fill a picture (R,R,3) in [0, 1] outside a mask (R,R), in all ways."""
    inside = mask[..., None]
    outside = {
        "grey, as in TCL": np.full(3, 0.5),
        "black": np.zeros(3),
        "white": np.ones(3),
        "mean colour inside": rgb[mask].mean(0),
        "mean colour of the picture": rgb.mean((0, 1)),
        "blurred picture": cv2.blur(rgb, (BLUR, BLUR)),
        "picture faded by 70 %": 0.5 + 0.3 * (rgb - 0.5),
    }
    return {name: np.where(inside, rgb, fill).astype(np.float32) for name, fill in outside.items()}


def normalised(images: list[FloatArray], preprocess: Preprocess) -> Tensor:
    """Make pictures (R,R,3) in [0, 1] what the encoder takes: (B,3,R,R)."""
    rows = (torch.from_numpy(np.stack(images)) - torch.tensor(preprocess.mean)) / torch.tensor(preprocess.std)
    return rows.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def answers(
    model: TCL, benchmark: Benchmark, size: int, least: float
) -> dict[str, dict[int, list[tuple[float, float]]]]:
    """Ask the tower: fill -> class -> (1 if right, cosine above the mean) of each mask."""
    words = [word.synonyms[0] for word in benchmark.words]
    text = F.normalize(model.encode_text(model.text_encoder.tokenize(words)).float(), dim=1)
    encoder = model.image_encoder.frozen()
    found: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for picture in track(benchmark.pictures, description="pictures"):
        with Image.open(picture.image) as file:
            resized = file.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        rgb = np.asarray(resized).astype(np.float32) / np.float32(255)
        truth = cv2.resize(benchmark.truth(picture), (size, size), interpolation=cv2.INTER_NEAREST)
        for label in range(len(words)):
            mask = truth == label
            if mask.mean() < least:
                continue
            filled = fills(rgb, mask)
            images = normalised(list(filled.values()), model.preprocess)
            cosines = F.normalize(encoder.embed(images).float(), dim=1) @ text.T
            for name, row in zip(filled, cosines, strict=True):
                found[name][label].append((float(row.argmax() == label), float(row[label] - row.mean())))
    return found


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="images/, masks/ and classes.txt")
    parser.add_argument("--split")
    parser.add_argument("--without", action="append", default=[], help="class that is left out; may be repeated")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures in pixels")
    parser.add_argument("--least", type=float, default=0.03, help="share of the picture that a mask must cover")
    parser.add_argument("--often", type=int, default=15, help="masks of a class that are needed to count it")
    given = parser.parse_args()
    model = load_tiny().eval()
    benchmark = open_folder(given.data, split=given.split, without=tuple(given.without))
    found = answers(model, benchmark, given.size, given.least)
    classes = [label for label, rows in next(iter(found.values())).items() if len(rows) >= given.often]
    classes.sort(key=lambda label: benchmark.names[label])
    counts = {label: len(next(iter(found.values()))[label]) for label in classes}
    table = Table(
        "outside the mask", "right", "above the mean", *(f"{benchmark.names[k]} ({counts[k]})" for k in classes)
    )
    for name, rows in found.items():
        means = {label: np.mean(rows[label], axis=0) for label in classes}
        right, above = np.mean(list(means.values()), axis=0)
        table.add_row(name, f"{right:.0%}", f"{above:.3f}", *(f"{means[label][0]:.0%}" for label in classes))
    Console(width=None if Console().is_terminal else 240).print(table)


if __name__ == "__main__":
    main()
