"""Twelve pictures by a rule, segmented by the shipped model.

    python examples/gallery.py DATA OUT.jpg

DATA is a folder as docs/tiny.md describes it, with the two clips in DATA/clips. The rule,
written down before the pictures were looked at:

- DreamBooth: the first photograph, in the order of the shard, of each of the first six captions; words: the caption.
- The clips: frames at a quarter and at three quarters of each; words: "car, road|asphalt" and "bottle, table".
- Wallpapers under CC BY: the first two, in alphabetical order, whose caption names three things; words: those.

Background words are the model's own. The credit of every picture is printed.
"""

import argparse
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from runtime import Segmenter
from tcl_core.data.phrases import noun_phrases

LISTING = Path(__file__).parents[1] / "configs" / "tiny_backgrounds.tsv"
CLIPS = {"car-detection.mp4": "car, road|asphalt", "bottle-detection.mp4": "bottle, table"}
SHARES = (0.25, 0.75)
TILE, BAR, COLUMNS = (320, 240), 22, 2
Picture = tuple[MatLike, str, str]  # BGR, words, credit


def decoded(encoded: MatLike, name: str) -> MatLike:
    """Decode a picture as BGR."""
    picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f"{name} is no picture")
    return picture


def dreambooth(shard: Path, count: int) -> Iterator[Picture]:
    """Read the first photograph of each of the first captions."""
    with tarfile.open(shard) as tar:
        members = {member.name: member for member in tar.getmembers()}

        def content(name: str) -> bytes:
            file = tar.extractfile(members[name])
            assert file is not None
            return file.read()

        seen: set[str] = set()
        for name in members:
            if not name.endswith(".jpg") or len(seen) == count:
                continue
            caption = content(f"{name[:-4]}.txt").decode()
            if caption not in seen:
                seen.add(caption)
                encoded = np.frombuffer(io.BytesIO(content(name)).getvalue(), np.uint8)
                origin = json.loads(content(f"{name[:-4]}.json"))
                yield decoded(encoded, name), caption, f"{origin['source']}: {origin['licence']}"


def clip_frames(directory: Path) -> Iterator[Picture]:
    """Read two frames of each clip."""
    for name, words in CLIPS.items():
        capture = cv2.VideoCapture(str(directory / name))
        total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        for share in SHARES:
            capture.set(cv2.CAP_PROP_POS_FRAMES, int(total * share))
            read, frame = capture.read()
            if not read:
                raise SystemExit(f"{directory / name}: no frame at {share:.0%}")
            yield frame, words, f"{name}, Intel IoT DevKit sample videos: CC BY 4.0"


def wallpapers(directory: Path, count: int) -> Iterator[Picture]:
    """Read wallpapers that may be passed on with credit and whose caption names three things."""
    rows = sorted(line.split("\t") for line in LISTING.read_text(encoding="utf-8").splitlines()[1:])
    fit = [row for row in rows if row[2].startswith("CC-BY-4") and len(noun_phrases(row[1])) == 3]
    for name, caption, licence, author, *_ in fit[:count]:
        yield (
            decoded(np.fromfile(directory / name, np.uint8), name),
            ", ".join(noun_phrases(caption)),
            f"{name}, {author}: {licence}",
        )


def tile(picture: MatLike, words: str) -> MatLike:
    """Show a picture beside its segmentation, its words above."""
    with Segmenter("tiny", classes=words) as segmenter:
        drawn = segmenter(picture).plot()
    width, height = TILE
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = (int(picture.shape[1] * scale), int(picture.shape[0] * scale))
    canvas = np.full((height + BAR, 2 * width, 3), 255, np.uint8)
    for column, image in enumerate((picture, drawn)):
        canvas[BAR : BAR + size[1], column * width : column * width + size[0]] = cv2.resize(
            image, size, interpolation=cv2.INTER_AREA
        )
    cv2.putText(canvas, words, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.48, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


def main(data: Path, output: Path) -> None:
    """Draw the gallery."""
    pictures = [
        *dreambooth(data / "pairs" / "dreambooth-000000.tar", 6),
        *clip_frames(data / "clips"),
        *wallpapers(data / "backgrounds", 2),
    ]
    tiles = [tile(picture, words) for picture, words, _ in pictures]
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    cv2.imwrite(str(output), np.vstack(rows))
    for number, (_, words, credit) in enumerate(pictures, 1):
        print(f"{number}. {words} ({credit})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with pairs/, clips/ and backgrounds/")
    parser.add_argument("output", type=Path, help="picture to write")
    arguments = parser.parse_args()
    main(arguments.data, arguments.output)
