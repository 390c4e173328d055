"""Settings from YAML and `key=value`."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tcl_core.config import load_config
from tcl_core.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    steps: int = 10
    rate: float = 0.5
    cache: str = ""
    weights: str | None = None
    limit: int | None = None
    folder: str = "/usr/share"


@dataclass(frozen=True)
class Outer:
    name: str
    words: dict[str, list[str]] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text("name: one\nwords: {sky: [kite]}\ninner: {steps: 3}\n")
    return file


def test_file_then_overrides_then_defaults(path: Path) -> None:
    """Oracle: the values written above."""
    expected = Outer(name="two", words={"sky": ["kite"]}, inner=Inner(steps=3, rate=0.25))
    assert load_config(Outer, path, ["inner.rate=0.25", "name=two"]) == expected


@pytest.mark.parametrize("override", ["inner.stps=3", "inner.step=3"])
def test_unknown_override_names_the_nearest(path: Path, override: str) -> None:
    """Oracle: the misspelt key is one letter from inner.steps."""
    with pytest.raises(ConfigError, match=r"nearest is 'inner\.steps'"):
        load_config(Outer, path, [override])


@pytest.mark.parametrize("text", ["nam: x", "name: x\ninner: {raet: 1}", "name: x\ninner: {rate: {deep: 1}}"])
def test_unknown_or_misplaced_key_in_the_file(tmp_path: Path, text: str) -> None:
    """Oracle: every such file must be refused."""
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load_config(Outer, file)


@pytest.mark.parametrize(
    ("override", "message"),
    [("inner.steps=many", "inner.steps: .*integer"), ("inner.steps", "key=value"), ("name=[", "not YAML")],
)
def test_bad_override(path: Path, override: str, message: str) -> None:
    """Oracle: the message says what is wrong."""
    with pytest.raises(ConfigError, match=message):
        load_config(Outer, path, [override])


@pytest.mark.parametrize("empty", ["", "''", '""', "null", "~"])
@pytest.mark.parametrize(("key", "off"), [("cache", ""), ("weights", None), ("limit", None)])
def test_an_empty_value_means_off(key: str, off: str | None, empty: str, path: Path) -> None:
    """Oracle: what the settings above are where nobody gives them; on the command line and in a file."""
    set_before = [f"inner.{key}=7" if key == "limit" else f"inner.{key}=there"]
    assert getattr(load_config(Outer, path, [*set_before, f"inner.{key}={empty}"]).inner, key) == off
    path.write_text(f"name: one\ninner: {{{key}: {empty or 'null'}}}\n")
    assert getattr(load_config(Outer, path).inner, key) == off


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("name=", "name is empty and cannot be switched off: expected a value$"),
        ("inner.steps=", "such as inner.steps=10, its default"),
        ("inner.folder=''", "such as inner.folder=/usr/share, its default"),
    ],
)
def test_what_cannot_be_off_asks_for_a_value(override: str, message: str, path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Outer, path, [override])


@pytest.mark.parametrize(("text", "message"), [("- a\n", "key: value"), ("a: [", "not YAML"), (None, "no such file")])
def test_unreadable_file(tmp_path: Path, text: str | None, message: str) -> None:
    """Oracle: the message says what is wrong."""
    file = tmp_path / "bad.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(Outer, file)
