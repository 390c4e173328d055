"""What the stream's command line forgives, and what it reads from a file: `--config street.yaml`."""

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml

from runtime.commands import Command, fail
from runtime.errors import TclEdgeError, UsageError

ELSEWHERE = {
    "--conf": "a pixel is background below --threshold 0.3",
    "--confidence": "a pixel is background below --threshold 0.3",
    "--device": "where the network runs is --provider cpu, cuda or tensorrt",
    "--engine": "where the network runs is --provider cpu, cuda or tensorrt",
    "--gpu": "where the network runs is --provider cuda or tensorrt",
    "--half": "precision is a matter of the export: `python -m export --fp16`",
    "--fp16": "precision is a matter of the export: `python -m export --fp16`",
    "--input": "the source is the first argument: tcl-edge street.mp4 out.mp4",
    "--labels": "words are --classes 'car, road'",
    "--model": "a model is --bundle NAME.tclb",
    "--weights": "a model is --bundle NAME.tclb; `python -m export` makes one",
    "--output": "results are arguments after the source, or --to out.mp4",
    "--out": "results are arguments after the source, or --to out.mp4",
    "--prompt": "words are --classes 'car, road'",
    "--save": "results are arguments after the source: tcl-edge street.mp4 out.mp4",
    "--save-txt": "masks are a sink: masks/ or out.json",
    "--show": "a window is the sink `display`: tcl-edge street.mp4 display",
    "--text": "words are --classes 'car, road'",
    "--vid-stride": "the network skips frames by --keyframe 3",
    "--words": "words are --classes 'car, road'",
}
"""Options of tools for the same job, and what does that here."""

OF_WORDS = ("--classes", "--background")


class StreamCommand(Command):
    """The command that streams: tells of habits from elsewhere before they are taken for something else."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read the arguments."""
        known = {name for parameter in self.params for name in parameter.opts}
        try:
            _refuse_foreign_options(args, known)
            _refuse_words_without_quotes(args)
        except TclEdgeError as error:
            fail(error)
        return super().parse_args(ctx, args)


def _refuse_foreign_options(args: Iterable[str], known: set[str]) -> None:
    for arg in args:
        name = arg.split("=", 1)[0]
        if name == "--":
            return
        if name in ELSEWHERE and name not in known:
            raise UsageError(f"there is no option {name}: {ELSEWHERE[name]}")


def _refuse_words_without_quotes(args: Sequence[str]) -> None:
    """Tell `--classes car person road`, where the shell makes sinks of all words but the first."""
    source_seen = False
    position = 0
    while position < len(args):
        arg = args[position]
        name, *value = arg.split("=", 1)
        if name in OF_WORDS:
            first = value or args[position + 1 : position + 2]
            begin = end = position + (1 if value else 2)
            while end < len(args) and _may_be_word(args[end]):
                end += 1
            strays = args[begin:end]
            if source_seen and strays:
                words = ", ".join(word.strip(" ,") for word in (*first, *strays))
                raise UsageError(
                    f'{name} takes one text: words are written {name} "{words}"; if {" ".join(strays)} names a result, '
                    "put it before the options, or after --to"
                )
            position = end
        else:
            source_seen |= not arg.startswith("-")
            position += 1


def _may_be_word(arg: str) -> bool:
    """Whether an argument looks neither like an option nor like a place for results."""
    kinds = arg in ("display", "masks") or "/" in arg or os.sep in arg or "." in arg or ":" in arg
    return not arg.startswith("-") and not kinds and not os.path.lexists(arg)


def read_config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take options that are not given from a YAML file: `classes: [car, road]`, `to: out.mp4`, `threshold: 0.3`.

    Raises:
        UsageError: it cannot be read, or has a key that is no option.
    """
    if path is None:
        return None
    try:
        ctx.default_map = {**(ctx.default_map or {}), **_options(path, ctx.command.params)}
    except TclEdgeError as error:
        fail(error)
    return path


def _options(path: Path, parameters: Sequence[Any]) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"the configuration {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"the configuration {path} is no YAML: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"the configuration {path} holds no options: expected lines like `classes: car, road`")
    known = {parameter.name: parameter for parameter in parameters if parameter.name not in ("config", "version")}
    options = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise UsageError(f"{path} has the key {key!r}, which is no option: {advice}")
        items = value if isinstance(value, list) else [value]
        if value is None or any(item is None or isinstance(item, dict | list) for item in items):
            raise UsageError(f"{path} gives {key!r} the value {value!r}, expected a text, a number or a list of them")
        if any(isinstance(item, bool) for item in items) and not getattr(known[name], "is_flag", False):
            raise UsageError(f"{path} gives {key!r} yes or no as YAML reads it ({value!r}): put quotes around the word")
        several = known[name].nargs == -1 or known[name].multiple
        options[name] = list(map(str, items)) if several else ", ".join(map(str, items))
    return options
