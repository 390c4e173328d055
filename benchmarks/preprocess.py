"""From a frame to a network's input, without aliasing, against what is usually done: python benchmarks/preprocess.py

BGR frame (H,W,3) uint8 to normalised planes (3,h,w) float32. One thread each, processor time, in turns.
"""

import cv2
import numpy as np
import torch
from PIL import Image
from timing import Call, cell, measure, parser_of, processor, report
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision

from runtime.kernels.antialias import resize_normalize

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
CASES = (((480, 640), 224), ((720, 1280), 224), ((1080, 1920), 224), ((1080, 1920), 448), ((2160, 3840), 448))
NAMES = ("one pass", "Pillow", "PyTorch", "torchvision uint8", "OpenCV area", "blobFromImage")


def contenders(frame: np.ndarray, side: int) -> dict[str, Call]:
    planes = np.empty((1, 3, side, side), np.float32)
    scale, shift = 1 / (255 * STD), -MEAN / STD
    mean, std = torch.from_numpy(MEAN).reshape(3, 1, 1), torch.from_numpy(STD).reshape(3, 1, 1)

    def normalised(small: np.ndarray) -> np.ndarray:  # RGB (h,w,3) uint8
        return np.ascontiguousarray((small * scale + shift).transpose(2, 0, 1))

    def rgb() -> np.ndarray:
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def torch_form() -> torch.Tensor:
        image = torch.from_numpy(rgb()).permute(2, 0, 1)[None].float()
        return (F.interpolate(image, size=(side, side), mode="bilinear", antialias=True) / 255 - mean) / std

    def torchvision_form() -> torch.Tensor:
        image = torch.from_numpy(rgb()).permute(2, 0, 1)
        return (vision.resize(image, [side, side], antialias=True).float() / 255 - mean) / std

    def blob() -> np.ndarray:
        factor = float(scale.mean())  # it knows one factor for all channels
        return cv2.dnn.blobFromImage(frame, factor, (side, side), (255 * MEAN).tolist(), swapRB=True)

    return {
        "one pass": lambda: resize_normalize(frame, (side, side), mean=MEAN, std=STD, out=planes),
        "Pillow": lambda: normalised(
            np.asarray(Image.fromarray(rgb()).resize((side, side), Image.Resampling.BILINEAR))
        ),
        "PyTorch": torch_form,
        "torchvision uint8": torchvision_form,
        "OpenCV area": lambda: normalised(
            cv2.cvtColor(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA), 4)
        ),
        "blobFromImage": blob,
    }


def main() -> None:
    output = parser_of(__doc__).parse_args().output
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    lines = ["| frame | side | " + " | ".join(f"{name} ms" for name in NAMES) + " | error |", "|---" * 9 + "|"]
    for size, side in CASES:
        frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        calls = contenders(frame, side)
        times = measure(calls, turns=15)
        fast = np.median(times["one pass"])
        cells = [cell(times["one pass"])]
        cells += [f"{np.median(times[name]):.1f}, {np.median(times[name]) / fast:.1f}x" for name in NAMES[1:]]
        error = float(np.abs(np.asarray(calls["one pass"]()) - calls["PyTorch"]().numpy()).max())
        lines.append(f"| {size[1]} x {size[0]} | {side} | " + " | ".join(cells) + f" | {error:.1e} |")
        print(lines[-1], flush=True)
    report(
        output,
        "preprocess.md",
        "# Preprocessing without aliasing\n\n"
        f"`python benchmarks/preprocess.py` on {processor()}, one thread each. PyTorch "
        f"{torch.__version__.split('+')[0]}, OpenCV {cv2.__version__}, Pillow {Image.__version__}.\n\n"
        "BGR frame to normalised planes. Medians of processor time in ms; for the others also how many times longer "
        "they take. `one pass` and PyTorch compute the same in float32 (error: their largest difference, in standard "
        "deviations); Pillow and torchvision do it in 8-bit arithmetic, rounding to bytes in between. `OpenCV area` "
        "averages boxes; `blobFromImage` looks at four pixels each and so aliases, and knows one standard deviation "
        "for all channels.\n\n" + "\n".join(lines) + "\n",
    )


if __name__ == "__main__":
    main()
