"""What a picture file says of itself before it is decoded: its kind, size, number of pictures and rotation.

Everything is read from bytes that may be damaged or malicious: what cannot be understood counts as not said, and is
left to the decoder.
"""

import mmap
import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

Bytes: TypeAlias = bytes | mmap.mmap

HEAD_BYTES = 64
"""That tell the kind."""

SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00",
    "TIFF": rb"II[*+]\x00|MM\x00[*+]",
    "JPEG 2000": rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "AVIF": rb"....ftyp(?:....)*?avi[fs]",
    "HEIC": rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
    "PNM": rb"P[1-6]\s+[#\d]|P7\n",
    "PFM": rb"P[Ff]\s",
    "HDR": rb"#\?(?:RADIANCE|RGBE)",
    "Sun raster": rb"\x59\xa6\x6a\x95",
    "JPEG XL": rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Photoshop": rb"8BPS",
}
"""How each kind begins; the first that fits."""

ORIENTATION, WIDTH, HEIGHT, BITS, SUBFILE, SAMPLE_FORMAT = 0x112, 0x100, 0x101, 0x102, 0xFE, 0x153
"""Tags of TIFF, and of EXIF, which is one."""

_TAGS = {ORIENTATION, WIDTH, HEIGHT, BITS, SUBFILE, SAMPLE_FORMAT}


def kind_of(head: bytes) -> str | None:
    """Tell the kind of a picture by the first 64 bytes of its file; None if it is none."""
    return next((kind for kind, begin in SIGNATURES.items() if re.match(begin, head, re.DOTALL)), None)


def kind_of_file(path: Path) -> str | None:
    """Tell the kind of a picture; None if it is none, or no file that can be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            return None
        with path.open("rb") as file:
            return kind_of(file.read(HEAD_BYTES))
    except OSError:
        return None


def count_pictures(path: Path, kind: str | None) -> int:
    """Count the frames of an animation, or the pages of a TIFF, without decoding them; otherwise 1."""
    if kind not in {"GIF", "PNG", "WebP", "TIFF", "AVIF"}:
        return 1
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if kind == "GIF":
                count = sum(1 for _ in _gif_frames(data))
            elif kind == "PNG":
                count = next((_number(data, begin) for name, begin, _ in _png_chunks(data) if name == b"acTL"), 1)
            elif kind == "WebP":
                count = sum(name == b"ANMF" for name, _, _ in _riff_chunks(data))
            elif kind == "TIFF":
                count = len(tiff_pages(data))
            else:
                count = _avif_frames(data)
    except (OSError, ValueError, IndexError, struct.error):
        return 1
    return max(count, 1)


def declared_size(kind: str | None, data: bytes) -> tuple[int, int] | None:
    """(height, width) that the header announces in pixels, the largest of several pages; None where it is not known."""
    try:
        if kind == "JPEG":
            return _jpeg_size(data)
        if kind == "TIFF":
            pages = tiff_directories(data)
            return max(((page[HEIGHT], page[WIDTH]) for page in pages), key=lambda size: size[0] * size[1])
        if kind == "AVIF":
            sizes = [struct.unpack_from(">II", data, begin + 4)[::-1] for _, begin in _avif_properties(data, b"ispe")]
            return max(sizes, key=lambda size: size[0] * size[1])
        if kind == "WebP" and data[12:16] == b"VP8X":  # others are small
            return 1 + int.from_bytes(data[27:30], "little"), 1 + int.from_bytes(data[24:27], "little")
        if kind == "JPEG 2000" and data[:2] == b"\xff\x4f":
            right, bottom, left, top = struct.unpack_from(">4I", data, 8)
            return bottom - top, right - left
        if kind in _SIZES:
            pattern, layout, transposed = _SIZES[kind]
            found = re.match(pattern, data[:4096], re.DOTALL)
            if found:
                texts = [text for text in found.groups() if text is not None]
                one, two = struct.unpack(layout, b"".join(texts)) if layout else map(int, texts)
                return (abs(one), abs(two)) if transposed else (abs(two), abs(one))
    except (ValueError, IndexError, KeyError, struct.error):
        pass
    return None


_SIZES = {
    "PNG": (rb".{16}(.{8})", ">II", False),
    "GIF": (rb".{6}(.{4})", "<HH", False),
    "BMP": (rb".{14}[^\x0c].{3}(.{8})", "<ii", False),
    "JPEG 2000": (rb".*?ihdr(.{8})", ">II", True),
    "Sun raster": (rb".{4}(.{8})", ">II", False),
    "HDR": (rb".*?-Y (\d+) \+X (\d+)", "", True),
    "PNM": (rb"P[1-6](?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)|P7.*?WIDTH (\d+)\s.*?HEIGHT (\d+)", "", False),
}
"""Where width and height are, how they are stored (empty: as text), and whether the height comes first."""


def orientation(kind: str | None, data: bytes) -> int:
    """EXIF's number, 1 to 8, of how a PNG, WebP or AVIF is to be turned; 1, upright, where nothing is said."""
    try:
        if kind == "PNG":
            exif = next((data[begin:end] for name, begin, end in _png_chunks(data) if name == b"eXIf"), b"")
        elif kind == "WebP":
            exif = next((data[begin:end] for name, begin, end in _riff_chunks(data) if name == b"EXIF"), b"")
        elif kind == "AVIF":
            return _avif_orientation(data)
        else:
            return 1
        number = tiff_directories(exif.removeprefix(b"Exif\0\0"))[0].get(ORIENTATION, 1)
    except (ValueError, IndexError, struct.error):
        return 1
    return number if 1 <= number <= 8 else 1


def tiff_pages(data: Bytes) -> list[int]:
    """Which directories of a TIFF are pages, and not small versions or masks of others."""
    return [index for index, page in enumerate(tiff_directories(data)) if not page.get(SUBFILE, 0) & 0b101]


def tiff_directories(data: Bytes) -> list[dict[int, int]]:
    """Read the first value of every tag of those above, a dictionary a directory.

    Raises:
        ValueError: a directory lies beyond the end.
    """
    try:
        return list(_tiff_directories(data))
    except struct.error as error:
        raise ValueError("a TIFF that is cut short") from error


def _tiff_directories(data: Bytes) -> Iterator[dict[int, int]]:
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]), "")
    if not order:
        return
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    offset, count, step, value = ("Q", "Q", 20, 12) if big else ("I", "H", 12, 8)
    (at,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    layouts = {1: "B", 3: "H", 4: "I", 16: "Q"}
    seen: set[int] = set()
    while at and at not in seen:
        seen.add(at)
        (entries,) = struct.unpack_from(order + count, data, at)
        begin = at + struct.calcsize(order + count)
        tags: dict[int, int] = {}
        for entry in range(begin, begin + entries * step, step):
            tag, layout = struct.unpack_from(f"{order}HH", data, entry)
            (many,) = struct.unpack_from(order + offset, data, entry + 4)
            if layout in layouts and tag in _TAGS:
                length = struct.calcsize(layouts[layout])
                inside = many * length <= struct.calcsize(order + offset)
                where = entry + value if inside else struct.unpack_from(order + offset, data, entry + value)[0]
                (tags[tag],) = struct.unpack_from(order + layouts[layout], data, where)
        yield tags
        (at,) = struct.unpack_from(order + offset, data, begin + entries * step)


def _number(data: Bytes, begin: int) -> int:
    return int.from_bytes(data[begin : begin + 4], "big")


def _png_chunks(data: Bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + _number(data, at)
        yield bytes(data[at + 4 : at + 8]), at + 8, end
        at = end + 4


def _riff_chunks(data: Bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield bytes(data[at : at + 4]), at + 8, at + 8 + length
        at += 8 + length + length % 2


def _gif_frames(data: Bytes) -> Iterator[int]:
    """Yield where each image begins."""
    at = 13 + _gif_table(data[10])
    while at < len(data) and data[at] != 0x3B:
        if data[at] == 0x2C:
            yield at
            at += 11 + _gif_table(data[at + 9])
        else:
            at += 2
        while data[at]:  # blocks, the last of them empty
            at += 1 + data[at]
        at += 1


def _gif_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        if marker == 0xDA:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _boxes(data: Bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, begin, end of what is inside) of the boxes that AVIF, like MP4, consists of."""
    while begin + 8 <= end:
        length, head = _number(data, begin), 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, begin + 8)[0], 16
        elif length == 0:
            length = end - begin
        if length < head:
            return
        yield bytes(data[begin + 4 : begin + 8]), begin + head, min(begin + length, end)
        begin += length


def _box(data: Bytes, *names: bytes) -> tuple[int, int]:
    """Find the first box along a path; (0, 0) if there is none."""
    begin, end = 0, len(data)
    for name in names:
        begin, end = next(((b, e) for found, b, e in _boxes(data, begin, end) if found == name), (0, 0))
        begin += 4 if name == b"meta" and end else 0  # version and flags
    return begin, end


def _avif_frames(data: Bytes) -> int:
    if bytes(data[8:12]) != b"avis":  # a still picture, also where a sequence lies beside it
        return 1
    begin, end = _box(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz")
    return _number(data, begin + 8) if end else 1


def _avif_properties(data: Bytes, *names: bytes) -> list[tuple[bytes, int]]:
    """Find (name, begin) of properties: those of the main picture in their order, or all if that is not told."""
    every = [(name, begin) for name, begin, _ in _boxes(data, *_box(data, b"meta", b"iprp", b"ipco"))]
    main = _avif_associations(data)
    chosen = [every[index - 1] for index in main if 0 < index <= len(every)] if main else every
    return [found for found in chosen if found[0] in names]


def _avif_associations(data: Bytes) -> list[int]:
    """Numbers, from 1 on, of the main picture's properties."""
    pitm, found = _box(data, b"meta", b"pitm")
    at, end = _box(data, b"meta", b"iprp", b"ipma")
    if not found or not end:
        return []
    main = struct.unpack_from(">I" if data[pitm] else ">H", data, pitm + 4)[0]
    identity, wide = ">I" if data[at] else ">H", bool(data[at + 3] & 1)
    items, at = _number(data, at + 4), at + 8
    for _ in range(items):
        (item,) = struct.unpack_from(identity, data, at)
        at += struct.calcsize(identity)
        count, at = data[at], at + 1
        step = 2 if wide else 1
        numbers = [int.from_bytes(data[i : i + step], "big") for i in range(at, at + count * step, step)]
        if item == main:
            return [number & (0x7FFF if wide else 0x7F) for number in numbers]
        at += count * step
    return []


def _avif_orientation(data: bytes) -> int:
    """EXIF's number of the turn and the mirror that AVIF has boxes for; its EXIF has no say."""
    quarters, mirror = 0, None
    for name, begin in _avif_properties(data, b"irot", b"imir"):
        if name == b"irot":
            quarters = data[begin] & 3
        else:
            mirror = data[begin] & 1
    return _AVIF_ORIENTATIONS[mirror][quarters]


_AVIF_ORIENTATIONS = {None: (1, 8, 3, 6), 0: (4, 5, 2, 7), 1: (2, 7, 4, 5)}
"""By mirror (none, top and bottom, left and right), after 0 to 3 quarter turns to the left."""
