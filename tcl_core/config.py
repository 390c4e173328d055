"""Settings of a command: a frozen dataclass, filled from YAML and `key=value` arguments.

An empty value, `data.features=`, switches off what is off by default: shells eat the quotes of `data.features=''`.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from tcl_core.errors import ConfigError

Settings = TypeVar("Settings")


Known = Mapping[str, Mapping[str, Any]]
"""The JSON schema of every setting, by its name with dots between the levels: "seed", "student.steps"."""


def _known_keys(adapter: TypeAdapter[Any]) -> Known:
    def walk(node: Mapping[str, Any], prefix: str) -> dict[str, Mapping[str, Any]]:
        keys: dict[str, Mapping[str, Any]] = {}
        for name, child in node.get("properties", {}).items():
            target = definitions.get(child.get("$ref", "").rpartition("/")[2], child)
            below = walk(target, f"{prefix}{name}.") if "properties" in target else {}
            keys |= below or {prefix + name: child}
        return keys

    schema = adapter.json_schema()
    definitions = schema.get("$defs", {})
    return walk(schema, "")


def _raise_unknown(key: str, known: Known, where: str) -> None:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    raise ConfigError(f"{where}: there is no setting {key!r}; the nearest is {nearest[0]!r}")


def _check_keys(values: dict[str, Any], known: Known, where: str, prefix: str = "") -> None:
    """Refuse keys that are not known; empty values become those of the default, where that is empty too."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key in known:
            if value in (None, ""):
                values[name] = _off(key, known[key], where)
        elif isinstance(value, dict) and any(item.startswith(f"{key}.") for item in known):
            _check_keys(value, known, where, f"{key}.")
        else:
            _raise_unknown(key, known, where)


def _off(key: str, schema: Mapping[str, Any], where: str) -> str | None:
    default: Any = schema.get("default", ...)
    if default is None or default == "":
        return None if default is None else ""
    raise ConfigError(
        f"{where}: {key} is empty and cannot be switched off: expected a value"
        + ("" if default is ... else f", such as {key}={default}, its default")
    )


def _apply_override(values: dict[str, Any], override: str, known: Known) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"expected key=value, got {override!r}")
    if key not in known:
        _raise_unknown(key, known, override)
    *groups, last = key.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override}: the value is not YAML ({error})") from error
    values[last] = _off(key, known[key], override) if value in (None, "") else value


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
        overrides: such as "seed=3" or "student.steps=10"; the value is read as YAML, an empty one means off.

    Returns:
        A validated instance of `settings`.

    Raises:
        ConfigError: an unknown key (the message names the nearest), a value of the wrong type, an
            empty one for what cannot be off, an unreadable file.
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
