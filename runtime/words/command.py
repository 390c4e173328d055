"""The command `python -m runtime words`: builds, merges and shows vocabularies. Runs without PyTorch."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.bundle import Bundle
from runtime.colours import colours_of
from runtime.errors import VocabularyError
from runtime.words.text_encoder import BundleTextEncoder
from runtime.words.vocabulary import Vocabulary, parse_background
from runtime.words.word_file import (
    NearWords,
    WordFile,
    merge,
    near_words,
    read_word_file,
    vocabulary_for,
    write_word_file,
)

MOST_PAIRS = 50
"""Near pairs that are printed; a word list with more is better looked at from its beginning."""


def gather(
    bundle: Bundle,
    files: Iterable[Path],
    classes: str | None,
    *,
    background: str | None = "default",
    threshold: float | None = None,
    templates: Iterable[str] = (),
) -> WordFile:
    """Bring word files and words as typed together; with neither, take the bundle's own words.

    Args:
        bundle: whose model the words are for.
        files: word files to merge, in order.
        classes: words as typed, merged last.
        background: of the words as typed: "default", other words, or None.
        threshold: of the whole vocabulary.
        templates: for the words as typed; empty for the bundle's own.

    Raises:
        VocabularyError: what was given is refused, or the parts disagree.
    """
    parts = [read_word_file(path, bundle.manifest) for path in files]
    if classes is not None or not parts:
        parts.append(_typed(bundle, classes, background, threshold, tuple(templates)))
    elif templates or parse_background(background) != "default":
        raise VocabularyError(
            "templates and background words are for new classes: give --classes, or leave --template and --background "
            "out"
        )
    return merge(parts, threshold=threshold)


def _typed(
    bundle: Bundle, classes: str | None, background: str | None, threshold: float | None, templates: tuple[str, ...]
) -> WordFile:
    shipped, text = Vocabulary.shipped(bundle), bundle.manifest.text
    own = text.templates if text is not None else ()
    if templates:
        encoder = BundleTextEncoder(bundle, {}, templates=templates)
    else:
        encoder = BundleTextEncoder(bundle, shipped.rows)
    words = shipped.classes if classes is None else classes
    vocabulary = vocabulary_for(bundle, words, encoder, background=background, threshold=threshold)
    return WordFile(vocabulary, templates or own)


def run(
    bundle: str,
    files: list[Path],
    classes: str | None,
    *,
    background: str,
    threshold: float | None,
    templates: list[str],
    near: float,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Build, merge and show; write where an output is named. See `gather` for the arguments.

    Raises:
        TclEdgeError: the bundle or the words are refused, or the file cannot be written.
    """
    if output is not None and output.exists() and not overwrite:
        raise VocabularyError(f"{output} exists: choose another --output, or add --overwrite")
    opened = Bundle.open(bundle)
    words = gather(
        opened,
        files,
        classes,
        background=background,
        threshold=threshold,
        templates=templates,
    )
    out = Console(highlight=False)
    out.print(table(words.vocabulary))
    for line in remarks(words):
        out.print(Text(line), soft_wrap=True)
    _print_near(out, near_words(words.vocabulary, near))
    if output is not None:
        write_word_file(output, words, opened.manifest)
        out.print(Text(f"wrote {output}; next:"), soft_wrap=True)
        out.print(Text(f"  python -m runtime SOURCE --bundle {bundle} --classes {output}"), soft_wrap=True)


def table(vocabulary: Vocabulary) -> Table:
    """Show each class with its colour, threshold, and the class that the model finds most like it."""
    shown = Table(title=f"{len(vocabulary.classes)} classes", title_justify="left")
    shown.add_column("index", justify="right")
    for column in ("", "class", "synonyms"):
        shown.add_column(column, overflow="fold")
    shown.add_column("threshold", justify="right")
    shown.add_column("most like", overflow="fold")
    nearest = _nearest(vocabulary)
    first = 1 if vocabulary.has_background else 0
    general = "" if vocabulary.threshold is None else f"{vocabulary.threshold:g}"
    colours = colours_of([word.name for word in vocabulary.classes])
    for index, (word, (blue, green, red)) in enumerate(zip(vocabulary.classes, colours, strict=True)):
        shown.add_row(
            str(index + first),
            Text("  ", style=f"on rgb({red},{green},{blue})"),
            Text(word.name),
            Text(", ".join(word.synonyms)),
            general if word.threshold is None else Text(f"{word.threshold:g}", style="bold"),
            Text(nearest[index]),
        )
    return shown


def _nearest(vocabulary: Vocabulary) -> list[str]:
    """Name the class most like each class, with the largest cosine of any two of their phrases."""
    count = len(vocabulary.classes)
    if count == 1:
        return [""]
    rows = vocabulary.embeddings[len(vocabulary.background) :]
    starts = np.cumsum([0, *(len(word.phrases) for word in vocabulary.classes[:-1])])
    described = []
    for index, (start, word) in enumerate(zip(starts, vocabulary.classes, strict=True)):
        cosines = rows[start : start + len(word.phrases)] @ rows.T
        by_class: npt.NDArray[np.float32] = np.maximum.reduceat(cosines.max(axis=0), starts)
        by_class[index] = -2
        best = int(by_class.argmax())
        described.append(f"{vocabulary.classes[best].name} {by_class[best]:.2f}")
    return described


def remarks(words: WordFile) -> list[str]:
    """Say what the table has no column for."""
    vocabulary = words.vocabulary
    lines = [f"background words: {', '.join(vocabulary.background) or 'none'}"]
    if vocabulary.threshold is None:
        lines.append("threshold: none" + ("" if vocabulary.thresholds is None else " but those of the classes"))
    else:
        lines.append(f"threshold: {vocabulary.threshold:g}, for classes without their own")
    if words.templates:
        lines.append(f"templates: {', '.join(map(repr, words.templates))}")
    return lines


def _print_near(out: Console, pairs: list[NearWords]) -> None:
    if not pairs:
        return
    out.print("[bold yellow]hard to tell apart[/bold yellow] (cosine); make them synonyms, or leave one out:")
    for pair in pairs[:MOST_PAIRS]:
        out.print(Text(f"  {pair.cosine:.3f}  {pair.first} / {pair.second}"), soft_wrap=True)
    if len(pairs) > MOST_PAIRS:
        out.print(f"  and {len(pairs) - MOST_PAIRS} more")
