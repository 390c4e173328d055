"""Build the data that `configs/tiny.yaml` trains on, from what docs/tiny.md tells to download.

    python examples/tiny_data.py DIR [--debian ROOT] [--emoji ASSETS --emoji-names emoji.json]
        [--caltech 101_ObjectCategories] [--flowers flower_photos] [--dreambooth dreambooth/dataset]

Every source that is named is written: DIR/cutouts, DIR/pairs (tar shards of an image, its caption and its origin) and
DIR/backgrounds (photographs with captions.tsv and licences.tsv).
"""

import argparse
import io
import json
import random
import re
import struct
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

LISTING = Path(__file__).parents[1] / "configs" / "tiny_backgrounds.tsv"
STAMPS = "usr/share/tuxpaint/stamps"
PHOTO_SIDE, CUTOUT_SIDE, EMOJI_SIDE, BACKGROUND_SIDE = 224, 224, 128, 320
MOST_OF_A_CLASS = {"caltech101": 32, "flower_photos": 120}
Member = tuple[str, Image.Image, str, dict[str, str]]  # key, image, caption, origin

# Two names of Caltech 101 that say something else to a stranger, and the one that is no thing.
CALTECH_NAMES = {"faces": "face", "faces easy": "face", "motorbikes": "motorbike", "airplanes": "airplane"}
CALTECH_NAMES |= {"leopards": "leopard", "car side": "car", "background google": ""}
FLOWERS = {"sunflowers": "sunflower", "roses": "rose", "tulips": "tulip"}


def shrunk(image: Image.Image, side: int, which: str) -> Image.Image:
    """Shrink so that the shorter or longer side is at most `side`; never enlarged."""
    measured = min(image.size) if which == "shorter" else max(image.size)
    scale = min(1.0, side / measured)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def write_shard(path: Path, members: Iterable[Member]) -> None:
    """Write a tar shard: KEY.png or .jpg, KEY.txt, KEY.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with tarfile.open(path, "w") as shard:
        for key, image, caption, origin in members:
            kind = "PNG" if image.mode == "RGBA" else "JPEG"
            encoded = io.BytesIO()
            image.save(encoded, kind, quality=85)
            suffix = "png" if kind == "PNG" else "jpg"
            contents = {suffix: encoded.getvalue(), "txt": caption.encode(), "json": json.dumps(origin).encode()}
            for ending, content in contents.items():
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(content)
                shard.addfile(info, io.BytesIO(content))
            count += 1
    print(f"{path}: {count} samples")


def cutout(path: Path, side: int) -> Image.Image | None:
    """Read a picture with an alpha channel, cut to what is visible; None if nothing of it is see-through."""
    image = Image.open(path).convert("RGBA")
    box = image.getchannel("A").point(lambda alpha: 255 if alpha >= 128 else 0).getbbox()
    if box is None or np.asarray(image)[..., 3].min() > 0:
        return None
    return shrunk(image.crop(box), side, "longer")


def stamps(root: Path) -> Iterator[Member]:
    """Read Tux Paint's photographic stamps that have a text."""
    for path in sorted((root / STAMPS).rglob("*.png")):
        text = path.with_suffix(".txt")
        relative = path.relative_to(root / STAMPS)
        if "cartoon" in relative.parts or not text.is_file() or (image := cutout(path, CUTOUT_SIDE)) is None:
            continue
        caption = text.read_text(encoding="utf-8").splitlines()[0].strip()
        yield (
            f"stamp_{'_'.join(relative.with_suffix('').parts)}",
            image,
            caption,
            {
                "licence": "GPL-2.0",
                "source": f"Tux Paint stamps, {relative}",
            },
        )


def emoji(assets: Path, names: Path) -> Iterator[Member]:
    """Read the 3D emoji whose name is known, but for flags and symbols."""
    by_code = {entry["unified"].lower(): entry for entry in json.loads(names.read_text(encoding="utf-8"))}
    for path in sorted(assets.glob("*.webp")):
        entry = by_code.get(path.stem) or by_code.get(f"{path.stem}-fe0f")
        if entry is None or entry["category"] in ("Flags", "Symbols") or (image := cutout(path, EMOJI_SIDE)) is None:
            continue
        yield (
            f"emoji_{path.stem}",
            image,
            entry["name"].lower(),
            {
                "licence": "MIT",
                "source": f"Fluent Emoji 3D, {path.name}",
            },
        )


def class_folders(root: Path, dataset: str, licence: str, names: dict[str, str]) -> Iterator[Member]:
    """Read photographs in folders of their class; the caption is the class."""
    chosen: list[tuple[Path, str]] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        plain = re.sub(r"\d+$", "", folder.name).replace("_", " ").strip().lower()
        caption = names.get(plain, plain)
        pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if caption:
            random.Random(folder.name).shuffle(pictures)
            chosen += [(path, caption) for path in pictures[: MOST_OF_A_CLASS.get(dataset)]]
    random.Random(dataset).shuffle(chosen)
    for path, caption in chosen:
        image = shrunk(Image.open(path).convert("RGB"), PHOTO_SIDE, "shorter")
        origin = {"licence": licence, "source": f"{dataset}, {path.relative_to(root)}"}
        yield f"{dataset}_{path.parent.name}_{path.stem}", image, caption, origin


def qt_resource(archive: bytes, wanted: str) -> bytes:
    """Read one file out of a Qt resource archive (`rcc --binary`, version 2 or later): big-endian numbers throughout.

    A tree of nodes of 22 bytes: offset of the name, flags, then for a folder the number of its children and the first
    of them, for a file where its content lies.
    """
    version, tree, data, names = struct.unpack_from(">4I", archive, 4)
    if archive[:4] != b"qres" or version < 2:
        raise SystemExit("no Qt resource archive of version 2 or later")
    node = 0
    for part in wanted.split("/"):
        count, first = struct.unpack_from(">II", archive, tree + node * 22 + 6)
        for child in range(first, first + count):
            (name,) = struct.unpack_from(">I", archive, tree + child * 22)
            (length,) = struct.unpack_from(">H", archive, names + name)
            if archive[names + name + 6 :][: 2 * length].decode("utf-16-be") == part:
                node = child
                break
        else:
            raise SystemExit(f"{wanted} is not in the archive")
    (offset,) = struct.unpack_from(">I", archive, tree + node * 22 + 10)
    (size,) = struct.unpack_from(">I", archive, data + offset)
    return archive[data + offset + 4 :][:size]


def read_listed(root: Path, path: str) -> Image.Image | None:
    """Read a listed picture, a file or ARCHIVE.rcc:FILE in an archive; None if it is not there."""
    file, _, inside = path.removeprefix("/").partition(".rcc:")
    source = root / (f"{file}.rcc" if inside else file)
    if not source.is_file():
        return None
    content = source.read_bytes()
    return Image.open(io.BytesIO(qt_resource(content, inside) if inside else content)).convert("RGB")


def write_backgrounds(root: Path, directory: Path) -> None:
    """Shrink the listed wallpapers that are there, and write their captions and licences."""
    directory.mkdir(parents=True, exist_ok=True)
    captions, licences = [], ["file\tlicence\tauthor\tsource"]
    for line in LISTING.read_text(encoding="utf-8").splitlines()[1:]:
        name, caption, licence, author, package, path = line.split("\t")
        image = read_listed(root, path)
        if image is None:
            print(f"not there, left out: {package}: {path}")
            continue
        shrunk(image, BACKGROUND_SIDE, "shorter").save(directory / name, quality=85)
        captions.append(f"{name}\t{caption}")
        licences.append(f"{name}\t{licence}\t{author}\tDebian package {package}, {path}")
    (directory / "captions.tsv").write_text("\n".join(captions) + "\n", encoding="utf-8")
    (directory / "licences.tsv").write_text("\n".join(licences) + "\n", encoding="utf-8")
    print(f"{directory}: {len(captions)} photographs")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    for option in ("debian", "emoji", "emoji-names", "caltech", "flowers", "dreambooth"):
        parser.add_argument(f"--{option}", type=Path)
    given = parser.parse_args()
    cutouts, pairs = given.directory / "cutouts", given.directory / "pairs"
    if given.debian:
        write_shard(cutouts / "tuxpaint_stamps-000000.tar", stamps(given.debian))
        write_backgrounds(given.debian, given.directory / "backgrounds")
    if given.emoji:
        write_shard(cutouts / "fluent_emoji_3d-000000.tar", emoji(given.emoji, given.emoji_names))
    folders = {
        "caltech101": (given.caltech, "CC BY 4.0", CALTECH_NAMES),
        "flower_photos": (given.flowers, "CC BY 2.0", FLOWERS),
        "dreambooth": (given.dreambooth, "CC BY 4.0, Unsplash licence", {}),
    }
    for dataset, (root, licence, names) in folders.items():
        if root:
            write_shard(pairs / f"{dataset}-000000.tar", class_folders(root, dataset, licence, names))


if __name__ == "__main__":
    main()
