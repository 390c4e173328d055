"""Image-text pairs in files: folders, tables, COCO captions."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcl_core.data.samples import Sample, check_caption, decode_image
from tcl_core.errors import BadSampleError, DataConfigError, DataError, Problem

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


class FilePairs:
    """Image files with captions; a source of samples.

    Args:
        pairs: path and caption of every sample.
        problems: what was passed over while listing them.
        what: name of the listing, for messages.

    Raises:
        DataError: there are none.
    """

    def __init__(self, pairs: Sequence[tuple[Path, str]], problems: list[Problem], what: str) -> None:
        if not pairs:
            reason = f" ({problems[0].kind}: {problems[0].where})" if problems else ""
            raise DataError(f"{what}: no pair of an image and a caption{reason}")
        self.problems = problems
        self.groups: npt.NDArray[np.int32] = np.arange(len(pairs), dtype=np.int32)
        self._pairs = pairs

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._pairs)

    def read(self, number: int, mode: str = "RGB") -> Sample:
        """Read and decode one sample.

        Raises:
            BadSampleError: the image or the caption cannot be used.
        """
        path, caption = self._pairs[number]
        caption = check_caption(caption, str(path))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadSampleError("image missing", f"{path}: {error.strerror}") from error
        return Sample(decode_image(content, str(path), mode), caption, str(path))


def folder_pairs(directory: Path) -> FilePairs:
    """Images anywhere below a folder, each with its caption beside it: NAME.jpg and NAME.txt.

    Raises:
        DataError: no such folder, or no pairs.
    """
    if not directory.is_dir():
        raise DataConfigError(f"no folder {directory}: expected images with captions beside them (NAME.jpg, NAME.txt)")
    pairs: list[tuple[Path, str]] = []
    problems: list[Problem] = []
    for path in sorted(path for path in directory.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES):
        try:
            pairs.append((path, path.with_suffix(".txt").read_text(encoding="utf-8")))
        except OSError:
            problems.append(Problem("caption missing", str(path)))
        except UnicodeDecodeError as error:
            problems.append(Problem("caption not text", f"{path}: {error}"))
    return FilePairs(pairs, problems, str(directory))


def table_pairs(table: Path, images: Path, image_column: str, caption_column: str) -> FilePairs:
    """Rows of a CSV or TSV file whose first line names the columns.

    Args:
        table: `.tsv` is separated by tabs, anything else by commas.
        images: folder that the paths in the table start from.
        image_column: name of the column with paths.
        caption_column: name of the column with captions.

    Raises:
        DataError: no such file or columns, or no rows.
    """
    if not table.is_file():
        raise DataConfigError(f"no table {table}: expected a .csv or .tsv whose first line names the columns")
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if table.suffix == ".tsv" else ",")
            columns = reader.fieldnames or []
            if missing := {image_column, caption_column} - set(columns):
                raise DataConfigError(
                    f"{table} has the columns {', '.join(columns)}: expected {', '.join(sorted(missing))}; name yours "
                    "with image_column and caption_column"
                )
            pairs = [(images / (row[image_column] or ""), row[caption_column] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read as a table: {error}") from error
    return FilePairs(pairs, [], str(table))


def coco_pairs(annotations: Path, images: Path) -> FilePairs:
    """Captions in COCO's format (`captions_train2017.json`); an image with five captions gives five samples.

    Raises:
        DataError: no such file, or another format.
    """
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        listed = [(annotation["image_id"], annotation["caption"]) for annotation in content["annotations"]]
    except OSError as error:
        raise DataConfigError(f"no COCO captions at {annotations}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{annotations} holds no COCO captions ({type(error).__name__}: {error}): expected `images` with file "
            "names and `annotations` with captions"
        ) from error
    problems = [Problem("image missing", f"{annotations}: image {name}") for name, _ in listed if name not in names]
    pairs = [(images / names[name], caption) for name, caption in listed if name in names]
    return FilePairs(pairs, problems, str(annotations))


__all__ = ["FilePairs", "coco_pairs", "folder_pairs", "table_pairs"]
