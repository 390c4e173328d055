"""The tree of errors. Oracle: the classes themselves."""

import inspect

from export import errors


def test_the_tree_is_drawn_as_it_is() -> None:
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    drawn: dict[str, list[str]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        words = line.split("  ")[-1].split() if "── " not in line else line.split("── ")[1].split()
        if words and words[0] in classes:
            depth = (len(line) - len(line.lstrip(" │├└─"))) // 4 - 1
            path = [*path[:depth], words[0]]
            drawn[words[0]] = path[:]
    assert drawn == {
        name: [base.__name__ for base in reversed(cls.__mro__) if base.__name__ in classes]
        for name, cls in classes.items()
    }
