"""Settings of a command: a frozen dataclass, filled from YAML and `key=value` arguments."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from tcl_core.errors import ConfigError

Settings = TypeVar("Settings")


def _known_keys(adapter: TypeAdapter[Any]) -> list[str]:
    """List the settings with dots between the levels: ["seed", "student.steps"]."""

    def walk(node: Mapping[str, Any], prefix: str) -> list[str]:
        keys: list[str] = []
        for name, child in node.get("properties", {}).items():
            target = definitions.get(child.get("$ref", "").rpartition("/")[2], child)
            below = walk(target, f"{prefix}{name}.") if "properties" in target else []
            keys += below or [prefix + name]
        return keys

    schema = adapter.json_schema()
    definitions = schema.get("$defs", {})
    return walk(schema, "")


def _raise_unknown(key: str, known: Sequence[str], where: str) -> None:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    raise ConfigError(f"{where}: there is no setting {key!r}; the nearest is {nearest[0]!r}")


def _check_keys(values: Mapping[str, Any], known: Sequence[str], where: str, prefix: str = "") -> None:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key in known:
            continue
        if isinstance(value, Mapping) and any(item.startswith(f"{key}.") for item in known):
            _check_keys(value, known, where, f"{key}.")
        else:
            _raise_unknown(key, known, where)


def _apply_override(values: dict[str, Any], override: str, known: Sequence[str]) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"expected key=value, got {override!r}")
    if key not in known:
        _raise_unknown(key, known, override)
    *groups, last = key.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override}: the value is not YAML ({error})") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no such file: {path}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got {type(values).__name__}")
    return values


def load_config(settings: type[Settings], path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Read settings from a YAML file, then apply `key=value` overrides in order.

    Args:
        settings: a dataclass, or one that holds others; its defaults stand for what the file leaves out.
        path: YAML file.
        overrides: such as "seed=3" or "student.steps=10"; the value is read as YAML.

    Returns:
        A validated instance of `settings`.

    Raises:
        ConfigError: an unknown key (the message names the nearest), a value of the wrong type, an unreadable file.
    """
    adapter = TypeAdapter(settings)
    known = _known_keys(adapter)
    values = _read_yaml(Path(path))
    _check_keys(values, known, str(path))
    for override in overrides:
        _apply_override(values, override, known)
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigError(f"{path}: " + "; ".join(problems)) from error


# An unknown key of a source is an error, not a typing mistake without effect.
STRICT = ConfigDict(extra="forbid")
