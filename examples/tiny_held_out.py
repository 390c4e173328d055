"""Measure `tiny` on things that it was never shown: composites of the cut-outs that its training left out.

    python examples/tiny_held_out.py write configs/tiny.yaml DIR [--count 300]
    python -m tcl_core.evaluate tiny.tclb --data DIR --report OUT
    python examples/tiny_held_out.py report OUT configs/tiny.yaml

`write` pastes held-out cut-outs on the photographs of the training, with masks. `report` reads what was measured and
tells words that occur in captions of the training from words that never do: a thing left out may share its name
with something else.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tcl_core.data.composites import Composites, is_held_out, open_backgrounds, write_for_evaluation
from tcl_core.data.phrases import noun_phrases
from tcl_core.data.shards import ShardPairs
from tcl_core.data.sources import CompositesConfig
from tcl_core.train.__main__ import read_config

SEED = 1  # not the training's, so that other parts of the photographs are seen


def read_composites(path: Path) -> CompositesConfig:
    """Find the composites in a training's configuration."""
    found = [source for source in read_config([str(path)]).data.sources if isinstance(source, CompositesConfig)]
    if len(found) != 1 or not found[0].held_out:
        raise SystemExit(f"{path}: expected one source of kind composites, with held_out above 0")
    return found[0]


def write(path: Path, directory: Path, count: int) -> None:
    """Write composites of the cut-outs that were left out."""
    config = read_composites(path)
    cutouts = ShardPairs.of(config.cutouts).chosen(lambda caption: is_held_out(caption, config.held_out))
    backgrounds = open_backgrounds(Path(config.backgrounds))
    source = Composites(cutouts, backgrounds, count=count, size=config.size, most_objects=3, seed=SEED)
    write_for_evaluation(source, directory, range(count))
    print(f"{directory}: {count} composites of {len(cutouts)} cut-outs")


def training_words(config: CompositesConfig) -> set[str]:
    """Collect the single words of every caption that the training may have seen."""
    captions = []
    for paths in (config.cutouts, config.photos or []):
        shards = ShardPairs.of(paths)
        captions += [shards.caption(number) for number in track(range(len(shards)), description="captions")]
    captions = [caption for caption in captions if not is_held_out(caption, config.held_out)]
    backgrounds = open_backgrounds(Path(config.backgrounds))
    captions += [backgrounds.read(number).caption for number in range(len(backgrounds))]
    return {word for caption in captions for phrase in noun_phrases(caption) for word in phrase.split()}


def report(directory: Path, path: Path) -> None:
    """Print mean IoU and pointing game of words seen in training captions, and of words never seen."""
    figures = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    seen = training_words(read_composites(path))
    pointing = figures["pointing_game_of_class"]
    words = [word for word, score in pointing.items() if score is not None]
    # A name of several words is known if its last one is: "probing cane" is a cane.
    groups = {
        "all": words,
        "its noun is in training captions": [word for word in words if noun_phrases(word)[-1].split()[-1] in seen],
        "its noun never is": [word for word in words if noun_phrases(word)[-1].split()[-1] not in seen],
    }
    table = Table("words", "number", "mIoU, words present", "mIoU, all words", "pointing game")
    for name, group in groups.items():
        row = [name, str(len(group))]
        for which in ("present", "all"):
            iou = next(s["iou"] for s in figures["settings"] if s["words"] == which and s["background"])
            row.append(f"{100 * np.mean([iou[word] or 0.0 for word in group]):.1f}")
        table.add_row(*row, f"{100 * np.mean([pointing[word] for word in group]):.1f}")
    Console().print(table)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write")
    writing.add_argument("config", type=Path)
    writing.add_argument("directory", type=Path)
    writing.add_argument("--count", type=int, default=300)
    reporting = commands.add_parser("report")
    reporting.add_argument("directory", type=Path)
    reporting.add_argument("config", type=Path)
    given = parser.parse_args()
    if given.command == "write":
        write(given.config, given.directory, given.count)
    else:
        report(given.directory, given.config)


if __name__ == "__main__":
    main()
