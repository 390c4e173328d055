"""The trees of errors as each package draws them. Oracle: the classes themselves."""

import importlib
import inspect
import re

import pytest

LINE = re.compile(r"^    (?P<branch>[│├└─ ]*)(?P<name>\w+Error)\b(?P<rest>.*)")


@pytest.mark.parametrize("package", ["runtime", "export", "tcl_core"])
def test_the_tree_is_drawn_as_it_is(package: str) -> None:
    """Every class once, below its first base; further bases are named beside it."""
    module = importlib.import_module(f"{package}.errors")
    above: list[str] = []
    drawn: dict[str, tuple[str | None, str]] = {}
    for found in filter(None, map(LINE.match, (module.__doc__ or "").splitlines())):
        above = above[: len(found["branch"]) // 4]
        drawn[found["name"]] = (above[-1] if above else None, found["rest"])
        above.append(found["name"])
    own = {name: cls for name, cls in inspect.getmembers(module, inspect.isclass) if cls.__module__ == module.__name__}
    errors = {name: cls for name, cls in own.items() if issubclass(cls, Exception)}
    root = next(iter(drawn))
    assert set(drawn) - {root} == set(errors) - {root}
    for name in set(errors) - {root}:
        parent, rest = drawn[name]
        first, *others = errors[name].__bases__
        assert parent == first.__name__
        assert all(other.__name__ in rest for other in others), f"{name} is also a {others}"
