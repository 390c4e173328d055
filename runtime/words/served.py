"""The words of a stream that runs elsewhere: `python -m runtime words --live URL`. A client of `runtime/serve/`."""

import json
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.errors import LiveError, UsageError, VocabularyError
from runtime.words.vocabulary import parse_background, parse_classes
from runtime.words.word_class import parse_class

TIMEOUT_S = 30.0
"""For an answer: many new words take a slow device some seconds."""

LONGEST_ANSWER = 16 * 1024 * 1024
"""Bytes."""


class _NoRedirect(HTTPRedirectHandler):
    """Goes nowhere else: the token is for the server that was named."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""


class ServedWords:
    """The words of a running stream, over its web interface.

    Args:
        url: of its page: http://HOST:PORT/, of several sources http://HOST:PORT/NAME/; http:// may be left out.
        token: that it was started with, if it was.

    Raises:
        UsageError: it is no such URL.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        page = url if "://" in url else f"http://{url}"
        try:
            parts = urlsplit(page)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known or parts.username or parts.query:
            raise UsageError(f"--live {url!r} given, expected the address of the page, like http://localhost:8080/")
        path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
        self.url = urljoin(f"{parts.scheme}://{parts.netloc}{path}", "words")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
        # Without the system's proxy: a device in the same room is not behind it.
        self._opener = build_opener(ProxyHandler({}), _NoRedirect())

    def read(self) -> dict[str, Any]:
        """Ask for the words.

        Raises:
            LiveError: nobody answers, or not as a stream does.
            UsageError: the server wants a token.
        """
        return self._answer(Request(self.url, headers=self._headers))

    def change(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Set any of classes, background and threshold, and give the words as they are then.

        Raises:
            VocabularyError: the server refuses a word; nothing has changed.
            LiveError, UsageError: see `read`.
        """
        headers = {**self._headers, "Content-Type": "application/json"}
        return self._answer(Request(self.url, json.dumps(wanted).encode(), headers, method="PUT"))

    def _answer(self, request: Request) -> dict[str, Any]:
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                answer = json.loads(response.read(LONGEST_ANSWER))
        except HTTPError as error:
            raise self._refusal(error) from None
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise LiveError(
                f"nobody answers at {self.url} ({reason}): check the address, and that the stream runs with --serve"
            ) from None
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("classes"), list):
            raise LiveError(f"{self.url} answers, but not as a stream does: give the address of its page")
        return answer

    def _refusal(self, error: HTTPError) -> Exception:
        with error:
            try:
                told = json.loads(error.read(LONGEST_ANSWER))
                reason, word = str(told["error"]), told.get("word")
            except (ValueError, KeyError, TypeError, AttributeError, OSError):
                reason, word = error.reason, None
        if error.code == 422:
            return VocabularyError(reason, word=word)
        if error.code == 401:
            return UsageError(f"{self.url} wants the token that the stream was started with: add --token")
        return LiveError(f"{self.url} refuses with status {error.code}: {reason}")


def changed_classes(
    now: Sequence[str], *, replaced: str | None, removed: Sequence[str], added: Sequence[str]
) -> list[str]:
    """Work out the classes: those there are, or others in their place, less some, and some more.

    Args:
        now: as the server tells them.
        replaced: words as typed, None to begin with those there are.
        removed: names of classes, several with commas between.
        added: words as typed.

    Raises:
        VocabularyError: what is to be removed is not there, or something typed is refused.
    """
    classes = list(map(parse_class, now)) if replaced is None else list(parse_classes(replaced))
    for name in (word.name for typed in removed for word in parse_classes(typed)):
        left = [word for word in classes if word.name.casefold() != name.casefold()]
        if len(left) == len(classes):
            there = ", ".join(word.name for word in classes) or "none"
            raise VocabularyError(f"--remove {name!r}: there is no such class, but {there}", word=name)
        classes = left
    classes += [word for typed in added for word in parse_classes(typed)]
    return [str(word) for word in classes]


def run_served(
    url: str,
    *,
    token: str | None,
    replaced: str | None,
    removed: Sequence[str],
    added: Sequence[str],
    background: str | None,
    threshold: float | None,
) -> None:
    """Change the words of a running stream, and show them.

    Raises:
        LiveError, VocabularyError, UsageError: see `ServedWords`.
    """
    live = ServedWords(url, token)
    wanted: dict[str, Any] = {}
    words = live.read()
    if replaced is not None or removed or added:
        wanted["classes"] = changed_classes(words["classes"], replaced=replaced, removed=removed, added=added)
    if background is not None:
        parsed = parse_background(background)
        wanted["background"] = list(parsed) if isinstance(parsed, tuple) else parsed
    if threshold is not None:
        wanted["threshold"] = threshold
    if wanted:
        words = live.change(wanted)
    _show(words)


def _show(words: dict[str, Any]) -> None:
    """Print what the server tells; its text is never taken for markup."""
    out, classes = Console(highlight=False), [parse_class(str(typed)) for typed in words["classes"]]
    colours = dict(zip(map(str, words.get("names", ())), map(str, words.get("colours", ())), strict=False))
    table = Table(title=f"{len(classes)} classes", title_justify="left")
    for column in ("", "class", "synonyms", "threshold"):
        table.add_column(column, overflow="fold")
    for word in classes:
        swatch = Text("  ", style=f"on {colours[word.name]}" if word.name in colours else "")
        own = "" if word.threshold is None else f"{word.threshold:g}"
        table.add_row(swatch, Text(word.name), Text(", ".join(word.synonyms)), own)
    out.print(table)
    background = words.get("background")
    said = "none" if background is None else ", ".join(map(str, background)) or "no words"
    out.print(Text(f"background: {said}; threshold: {words.get('threshold')}"), soft_wrap=True)
    for pair in words.get("confusable", ()):
        out.print(
            Text(f"hard to tell apart: {pair['first']} / {pair['second']} ({pair['cosine']:.2f})"), soft_wrap=True
        )
