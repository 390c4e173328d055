"""Order and names of pictures. Oracles: lists written by hand, and what must hold for any names."""

import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.sources.picture_names import in_natural_order, unique_names


@pytest.mark.parametrize(
    "ordered",
    [
        ["1", "2", "10"],
        ["A1", "a2", "A10", "b"],
        ["IMG_9.jpg", "IMG_10.jpg", "IMG_010b.jpg", "img_11.jpg"],
        ["2024-1-9", "2024-1-10", "2024-02-01"],
        ["2/1", "2/9", "10/1"],
        ["a", "a1", "a1b", "aa", "é1"],
        ["v1.2.png", "v1.10.png", f"v{10**30}.png"],
        ["01", "1", "02", "²"],
    ],
)
def test_numbers_in_names_are_numbers(ordered: list[str]) -> None:
    paths = [Path(name) for name in ordered]
    for seed in range(4):
        assert in_natural_order(random.Random(seed).sample(paths, len(paths))) == paths


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ("1.jpg 2.jpg 10.png", "1 2 10"),
        ("a.jpg a.png b.jpg", "a.jpg a.png b"),
        ("a.JPG a.jpg", "a.JPG a.jpg-2"),
        ("A.jpg a.png", "A.jpg a.png"),
        ("left/0001.png right/0001.png left/2.png", "left/0001 right/0001 2"),
        ("/x/l/1.png /x/r/1.png /x/l/1.jpg", "l/1 r/1 1.jpg"),
        ("a.jpg b/a.jpg", "a.jpg b/a"),
        ("a.jpg a.png a.jpg.png", "a.jpg a.png a.jpg.png"),
        ("STRASSE.png straße.png", "STRASSE.png straße.png-2"),
        ("../1.png ../../y/1.png", None),
    ],
)
def test_pictures_are_called_after_their_files(paths: str, names: str | None) -> None:
    found = unique_names([Path(path) for path in paths.split()], [1] * len(paths.split()))
    assert names is None or [name for (name,) in found] == names.split()
    assert not any(".." in name for (name,) in found)


def test_names_that_differ_in_how_an_accent_is_stored_only() -> None:
    names = unique_names([Path("\u00e9.png"), Path("e\u0301.png")], [1, 1])
    assert len({unicodedata.normalize("NFC", name) for (name,) in names}) == 2


def test_frames_are_numbered() -> None:
    assert unique_names([Path("x.gif"), Path("y.png")], [3, 1]) == [["x_0000", "x_0001", "x_0002"], ["y"]]
    assert unique_names([Path("x.gif"), Path("x_0001.png")], [2, 1]) == [
        ["x.gif_0000", "x.gif_0001"],
        ["x_0001.png"],
    ]


NAMES = st.text("aAéE\u0301_.01-2ßS", min_size=1, max_size=4).filter(lambda name: name.strip("."))
PATHS = st.builds(lambda folder, *name: Path(*folder, "".join(name)), st.lists(NAMES, max_size=2), NAMES)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(PATHS, st.integers(1, 3), max_size=8))
def test_no_two_pictures_have_one_name(files: dict[Path, int]) -> None:
    names = unique_names(list(files), list(files.values()))
    assert [len(of) for of in names] == list(files.values())
    every = [unicodedata.normalize("NFC", name).casefold() for of in names for name in of]
    assert len(set(every)) == len(every) == sum(files.values())
