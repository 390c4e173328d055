"""Patterns of file names. Oracle: `glob.glob`, which follows every link."""

import glob
from pathlib import Path

import pytest

from runtime.errors import SourceError
from runtime.sources.open import open_source
from runtime.sources.wildcards import expanded


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "a.png",
        "x/b.png",
        "x/y/c.png",
        "x/y/c.txt",
        "x/.hidden/d.png",
        "[z]/e.png",
        ".f.png",
        "deep/1/2/g.png",
    ):
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "h.png").touch()
    (tmp_path / "here" / "link").symlink_to("../elsewhere")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    "pattern",
    ["*.png", "**/*.png", "**", "x/**", "**/y/*", "**/*/*.png", "./**/*.png", "x/**/y/**/*.png", "{}/**/*.png",
     "[[]z]/**", "**/[[]z]/*", "li*/**/*", "**/.hidden/*", "x**/*.png", "gone/**/*.png", "x//**//*.png"],
)  # fmt: skip
def test_they_mean_what_they_always_mean(pattern: str, folder: Path) -> None:
    pattern = pattern.format(folder)
    expected = {Path(name) for name in glob.glob(pattern, recursive=True) if Path(name).is_file()}
    assert {Path(name) for name in expanded(pattern) if Path(name).is_file()} == expected
    assert expected or pattern.startswith("gone")


def test_links_that_lead_back_up_are_no_circle(folder: Path) -> None:
    """With two of them, `glob.glob` would not come to an end."""
    for name in ("x/up", "x/up2", "x/y/up"):
        (folder / name).symlink_to("..")
    (folder / "loop").symlink_to("loop")
    (folder / "loop.png").symlink_to("loop.png")
    found = sorted(str(Path(name)) for name in expanded("**/*.png") if Path(name).is_file())
    assert found == ["[z]/e.png", "a.png", "deep/1/2/g.png", "link/h.png", "x/b.png", "x/y/c.png"]
    with pytest.raises(SourceError, match=r"'loop\.png' is a link to loop\.png, which does not exist"):
        open_source("loop.png")
