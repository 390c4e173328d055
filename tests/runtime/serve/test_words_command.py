"""Words of a running stream from a terminal. Oracles: the segmenter that runs, the exit codes, the server's errors."""

import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from runtime.errors import UsageError, VocabularyError
from runtime.tools import tools
from runtime.words.served import ServedWords, changed_classes


def words(*arguments: str, **environment: str) -> Result:
    done = CliRunner().invoke(tools, ["words", *arguments], env={"COLUMNS": "200", **environment})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_words_are_shown_added_removed_and_set(stream: Any, serve: Any) -> None:
    address = serve().address

    def now() -> list[str]:
        return [str(word) for word in stream.segmenter.vocabulary.classes]

    shown = words("--live", address)
    assert shown.exit_code == 0
    assert "ground, asphalt" in shown.output
    assert "background: sky, grass" in shown.output
    assert words("--live", address, "--add", "dog|puppy:0.6, cat").exit_code == 0
    assert now() == ["car", "road|ground|asphalt", "dog|puppy:0.6", "cat"]
    assert words("--live", address, "--remove", "CAR, dog", "--add", "automobile", "--add", "truck").exit_code == 0
    assert now() == ["road|ground|asphalt", "cat", "automobile", "truck"]
    told = words("--live", address, "--set", "car, automobile", "--background", "wall, sky", "--threshold", "0.25")
    assert now() == ["car", "automobile"]
    assert stream.segmenter.vocabulary.background == ("wall", "sky")
    assert stream.segmenter.vocabulary.threshold == 0.25
    assert "hard to tell apart: car / automobile (0.9" in told.output
    assert "background: wall, sky; threshold: 0.25" in told.output
    assert words("--live", address.removeprefix("http://").rstrip("/"), "--background", "none").exit_code == 0
    assert stream.segmenter.vocabulary.background == ()
    assert now() == ["car", "automobile"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--add", "犬"], "the model does not know the word '犬'"),
        (["--add", "Car"], "the word 'Car' is given twice"),
        (["--remove", "dog"], "--remove 'dog': there is no such class, but car, road"),
        (["--remove", "car, road"], "no words to segment"),
        (["--add", "car:60"], "threshold 60 in 'car:60': a soft mask lies between 0 and 1; write car:0.6"),
        (["--set", ""], "no words to segment"),
        (["--background", "car"], "the word 'car' is given twice"),
    ],
)
def test_what_is_refused_is_said_as_everywhere(stream: Any, serve: Any, arguments: list[str], message: str) -> None:
    before = stream.segmenter.vocabulary
    done = words("--live", serve().address, *arguments)
    assert done.exit_code == 2
    assert f"error: {message}" in done.output
    assert stream.segmenter.vocabulary is before


def test_a_token_is_sent(stream: Any, serve: Any) -> None:
    address = serve(token="käse").address
    assert words("--live", address, "--token", "käse").exit_code == 0
    assert words("--live", address, TCL_EDGE_TOKEN="käse").exit_code == 0
    for wrong in ([], ["--token", "wrong"]):
        done = words("--live", address, *wrong)
        assert done.exit_code == 2
        assert "wants the token" in done.output


def test_a_source_of_several_has_its_own_address(stream: Any, serve: Any) -> None:
    address = serve({"front": stream.channel, "rear": stream.channel}).address
    assert "ground, asphalt" in words("--live", f"{address}front").output
    refused = words("--live", address)
    assert refused.exit_code == 1
    assert "status 404" in refused.output


@pytest.fixture
def another() -> Iterator[Callable[[int, dict[str, str], bytes], str]]:
    """Start a server that is no stream; what was asked of it is in `asked`."""
    servers: list[HTTPServer] = []

    def start(status: int, headers: dict[str, str], body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>", "answers, but not as a stream does"),
        (200, b"[1]", "answers, but not as a stream does"),
        (200, b"[" * 100_000, "answers, but not as a stream does"),
        (503, b"gone", "refuses with status 503: Service Unavailable"),
        (302, b"", "refuses with status 302"),
    ],
)
def test_another_server_is_no_stream(another: Any, status: int, body: bytes, message: str) -> None:
    address = another(status, {"Location": "http://127.0.0.1:9/"}, body)
    done = words("--live", address, "--token", "secret")
    assert done.exit_code == 1
    assert message in done.output


def test_nobody_there_is_said(monkeypatch: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    done = words("--live", f"localhost:{port}")
    assert done.exit_code == 1
    assert f"nobody answers at http://localhost:{port}/words" in done.output
    assert "--serve" in done.output


@pytest.mark.parametrize(
    "url", ["ftp://localhost/", "http://", "file:///etc/passwd", "http://[", "http://u:p@localhost/"]
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="expected the address of the page"):
        ServedWords(url)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny", "--live", "localhost:1"], "--live is about a running stream"),
        (["tiny", "--add", "dog"], "name it by --live"),
        (["--near", "0.5"], "name a bundle"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments: list[str], message: str) -> None:
    done = words(*arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_classes_change_in_the_order_set_remove_add() -> None:
    now = ["car:0.6", "dog|puppy"]
    assert changed_classes(now, replaced=None, removed=["car"], added=["car"]) == ["dog|puppy", "car"]
    assert changed_classes(now, replaced="a, b|c", removed=["a"], added=[]) == ["b|c"]
    with pytest.raises(VocabularyError, match="no such class, but car, dog"):
        changed_classes(now, replaced=None, removed=["puppy"], added=[])
    assert json.dumps(changed_classes([], replaced=None, removed=[], added=["x:.5"])) == '["x:0.5"]'
