"""The page in a real browser. Oracles: what is seen, the segmenter's words, the pixels of a picture of the screen."""

import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from runtime.segmentation import Segmentation
from runtime.sources.source import Frame

CHROMIUM = "/usr/bin/chromium"

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(not os.path.exists(CHROMIUM), reason="needs apt-get install chromium")  # noqa: PTH110


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as program:
        opened = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def clip(clip: list[Any]) -> list[Any]:
    """Small, and few a second: the browser paints without a graphics card."""
    return [replace(frame, image=cv2.resize(frame.image, (320, 180))) for frame in clip]


@pytest.fixture
def pause_s() -> float:
    return 0.1


NO_WEBGL = """
const open = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind.startsWith("webgl") ? null : open.call(this, kind, ...rest);
};
"""


WATCH = """() => {
  const { dataset } = document.body, before = dataset.version, ask = fetch;
  fetch = async (...request) => {
    const answer = await ask(...request);
    if (request[1]?.method === "PUT") window.answered = Number(dataset.frames);
    return answer;
  };
  new MutationObserver((_, observer) => {
    if (dataset.version === before) return;
    window.changed = Number(dataset.frames);
    observer.disconnect();
  }).observe(document.body, { attributes: true });
}"""
"""Counts the pictures from the server's answer to the first with other words."""


class Visit:
    """A person at the page, and what the browser complains about."""

    def __init__(self, browser: Any, url: str, *, webgl: bool = True, **context: Any) -> None:
        self.context = browser.new_context(**context)
        if not webgl:
            self.context.add_init_script(NO_WEBGL)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda opened: self.requests.append(opened.url))
        self.page.goto(url)

    def until(self, true: Callable[[], Any], seconds: float = 10) -> Any:
        """Look again and again: waiting inside the page would need `eval`, which it does not allow."""
        end = time.monotonic() + seconds
        while not (value := true()):
            assert time.monotonic() < end, (self.page.inner_text("body"), self.complaints)
            self.page.wait_for_timeout(20)
        return value

    def frames(self) -> int:
        try:
            return int(self.page.evaluate("document.body.dataset.frames ?? 0"))
        except playwright.Error:  # it is about to show another page
            return 0

    def picture(self) -> np.ndarray:
        """What is on the screen where the picture is, RGB."""
        return np.array(Image.open(io.BytesIO(self.page.locator("#picture").screenshot())).convert("RGB")).astype(int)

    def words(self) -> list[str]:
        return [
            label.removeprefix("Edit ")
            for label in self.page.locator("button.name").evaluate_all(
                "all => all.map(one => one.getAttribute('aria-label'))"
            )
        ]


@pytest.fixture
def visit(browser: Any, serve: Any) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def open_page(server: Any = None, path: str = "", **context: Any) -> Visit:
        visits.append(Visit(browser, (server or serve()).address + path, **context))
        return visits[-1]

    yield open_page
    for one in visits:
        one.context.close()


def mean_chroma(picture: np.ndarray) -> float:
    return float(np.ptp(picture, axis=-1).mean())


def test_a_word_is_typed_and_seen(running: Any, visit: Any) -> None:
    """Legend and pixels change, four pictures after the server's answer at most; nothing comes from elsewhere.

    One picture may be drawn at that moment, one on its way, one in the network.
    """
    seen = visit()
    page = seen.page
    seen.until(lambda: seen.frames() > 2)
    assert page.inner_text("#state-text") == "live"
    assert seen.words() == ["car", "road|ground|asphalt"]
    before, version = seen.picture(), page.evaluate("document.body.dataset.version")
    page.evaluate(WATCH)
    page.keyboard.press("a")
    with page.expect_response("**/words") as answered:
        page.keyboard.type("wheel|tyre:0.4, <b>window</b>")
        page.keyboard.press("Enter")
    assert answered.value.status == 200
    seen.until(lambda: page.evaluate("window.changed && window.answered"))
    assert page.evaluate("document.body.dataset.version") != version
    assert page.evaluate("changed - answered") <= 4
    seen.until(lambda: len(seen.words()) == 4)
    assert seen.words() == ["car", "road|ground|asphalt", "wheel|tyre:0.4", "<b>window</b>"]
    assert page.locator(".list b").count() == 0  # words are text
    assert [str(word) for word in running.segmenter.vocabulary.classes] == seen.words()
    assert page.locator("#new-word").input_value() == ""
    seen.until(lambda: np.abs(seen.picture() - before).mean() > 1)
    origin = page.url.removeprefix("http://").rstrip("/")
    assert all(url.split("://")[1].startswith(f"{origin}/") for url in seen.requests)
    assert len(seen.requests) > 6
    assert seen.complaints == []


def test_a_refused_word_says_so_beside_the_field(running: Any, visit: Any) -> None:
    seen = visit()
    page, field = seen.page, seen.page.locator("#new-word")
    seen.until(lambda: seen.words())
    before = running.segmenter.vocabulary
    field.fill("犬")
    field.press("Enter")
    error = page.locator(".add + .error")
    seen.until(error.is_visible)
    assert "does not know the word '犬'" in error.inner_text()
    assert field.get_attribute("aria-invalid") == "true"
    assert field.get_attribute("aria-describedby") == error.get_attribute("id")
    assert field.input_value() == "犬"
    assert seen.words() == ["car", "road|ground|asphalt"]
    assert running.segmenter.vocabulary is before
    field.fill("dog")
    assert not error.is_visible()
    assert [complaint for complaint in seen.complaints if "422" not in complaint] == []


def test_words_are_edited_removed_and_given_thresholds(running: Any, visit: Any) -> None:
    seen = visit()
    page = seen.page
    seen.until(lambda: seen.words())

    def asked() -> list[str]:
        return [str(word) for word in running.segmenter.vocabulary.classes]

    page.get_by_role("button", name="Edit car").click()
    page.keyboard.type("car|truck")
    page.keyboard.press("Enter")
    seen.until(lambda: asked()[0] == "car|truck")
    page.get_by_label("Threshold: car", exact=True).fill("0.35")
    page.keyboard.press("Tab")
    seen.until(lambda: asked()[0] == "car|truck:0.35")
    seen.until(lambda: seen.words() == asked())
    page.get_by_role("button", name="Edit car|truck:0.35").click()
    page.keyboard.type("Asphalt")
    page.keyboard.press("Enter")
    seen.until(lambda: page.locator(".word .error:visible").count())
    assert "given twice" in page.locator(".word .error:visible").inner_text()
    page.keyboard.press("Escape")
    seen.until(lambda: seen.words() == asked() == ["car|truck:0.35", "road|ground|asphalt"])
    page.get_by_label("Remove: road").click()
    seen.until(lambda: asked() == ["car|truck:0.35"])
    page.get_by_role("button", name="none").click()
    seen.until(lambda: running.segmenter.vocabulary.background == ())
    page.locator("input.background").fill("wall, sky")
    page.keyboard.press("Enter")
    seen.until(lambda: running.segmenter.vocabulary.background == ("wall", "sky"))
    page.locator("input.floor").fill("0.2")
    page.keyboard.press("Enter")
    seen.until(lambda: running.segmenter.vocabulary.threshold == 0.2)


def test_words_that_change_elsewhere_are_shown(running: Any, visit: Any) -> None:
    seen = visit()
    seen.until(lambda: seen.frames())
    running.channel.words.change({"classes": ["car", "automobile"]})
    seen.until(lambda: seen.words() == ["car", "automobile"])
    assert "car and automobile" in seen.page.inner_text(".confusable")


@pytest.mark.parametrize("webgl", [True, False])
def test_colours_opacity_and_what_is_hidden_are_the_browsers_own(stream: Any, visit: Any, webgl: bool) -> None:
    """Of a stream that stands: no frame comes, and the picture changes."""
    stream.segmenter.set_classes("car, road", background=None)
    stop = Event()
    thread = Thread(target=lambda: [stream.step() for _ in iter(lambda: stop.wait(0.05) or stream.frames > 0, True)])
    thread.start()
    seen = visit(webgl=webgl)
    page = seen.page
    seen.until(lambda: seen.frames())
    stop.set()
    thread.join()
    page.keyboard.press("o")  # without outlines
    page.locator("#opacity").fill("1")
    for name in ("car", "road"):
        page.get_by_label(f"Colour: {name}").fill("#ff00ff")
    seen.until(lambda: np.abs(np.median(seen.picture().reshape(-1, 3), axis=0) - (255, 0, 255)).max() < 8)
    page.keyboard.press("1")
    page.keyboard.press("2")
    frame = stream.channel.newest.result.frame[..., ::-1]
    seen.until(lambda: np.abs(seen.picture().mean(axis=(0, 1)) - frame.mean(axis=(0, 1))).max() < 6)
    assert page.get_by_label("Hide: car").get_attribute("aria-pressed") == "true"
    page.reload()  # and it is kept
    seen.until(lambda: seen.frames() and seen.words())
    assert page.get_by_label("Hide: road").get_attribute("aria-pressed") == "true"
    assert page.get_by_label("Colour: car").input_value() == "#ff00ff"
    stream.state = "stale"
    seen.until(lambda: mean_chroma(seen.picture()) < 1)
    assert seen.complaints == []


@pytest.mark.parametrize("webgl", [True, False])
@pytest.mark.parametrize("words", [4, 700])
def test_every_place_has_the_colour_of_its_word(stream: Any, visit: Any, webgl: bool, words: int) -> None:
    """Four quarters of four words, of few, and of so many that labels have two bytes; the frame itself is black."""
    indices = np.array([[0, 1], [2, 3]] if words == 4 else [[1, 257], [600, 699]])
    mask = np.kron(indices, np.ones((90, 160), int)).astype(np.uint8 if words == 4 else np.uint16)
    colours = np.random.default_rng(1).integers(0, 256, (words, 3)).astype(np.uint8)
    image, soft = np.zeros((180, 320, 3), np.uint8), np.zeros((1, 1, 1), np.float32)
    names = tuple(f"word {number}" for number in range(words))
    result = Segmentation(mask, names, image, soft, None, colours, None, {})
    with stream.channel.watching():
        stream.channel.write(result, Frame(image, 0, 0.0, "0"), image)
    seen = visit(webgl=webgl)
    seen.until(seen.frames)
    seen.page.locator("#opacity").fill("1")
    seen.page.keyboard.press("o")

    def quarters() -> np.ndarray:
        picture = seen.picture()
        height, width = picture.shape[:2]
        return picture[height // 4 :: height // 2, width // 4 :: width // 2][:2, :2]

    expected = colours[indices][..., ::-1].astype(int)
    seen.until(lambda: np.abs(quarters() - expected).max() <= 3)


def test_a_stall_greys_the_picture_and_says_for_how_long(stream: Any, visit: Any) -> None:
    stream.segmenter.set_classes("car, road", background=None)  # colours everywhere
    stream.step()
    seen = visit()
    page = seen.page
    seen.until(lambda: seen.frames() and page.inner_text("#state-text") == "live")
    seen.until(lambda: mean_chroma(seen.picture()) > 10)
    stream.state, stream.arrived_s = "reconnecting", time.monotonic() - 4
    stream.channel.idle("reconnecting", 4.0)
    seen.until(lambda: page.inner_text("#state-text").startswith("reconnecting, last frame 4 s ago"))
    seen.until(lambda: mean_chroma(seen.picture()) < 1)
    assert "does not answer" in page.inner_text("#notice")
    assert page.get_by_role("status").inner_text() == "reconnecting"
    stream.state = "live"
    stream.step()
    seen.until(lambda: page.inner_text("#state-text") == "live" and mean_chroma(seen.picture()) > 10)
    assert page.inner_text("#notice") == ""
    stream.unchanged_s, stream.throttled = 12.0, ("under-voltage",)
    seen.until(lambda: page.inner_text("#notice").startswith("every picture of the last 12 s is the same"))
    assert page.inner_text("#notice").endswith("the machine is held back: under-voltage")
    assert page.inner_text("#state-text") == "live"


def test_a_server_that_goes_and_comes_back_is_found_again(stream: Any, serve: Any, visit: Any) -> None:
    server = serve()
    stream.step()
    seen = visit(server)
    seen.until(lambda: seen.frames())
    server.close()
    seen.until(lambda: seen.page.inner_text("#state-text").startswith("not connected, last frame"))
    seen.until(lambda: mean_chroma(seen.picture()) < 1)
    server._asked = server.host, server.port
    server.start()
    seen.until(lambda: seen.page.inner_text("#state-text") == "live")


def test_a_token_is_typed_once(stream: Any, serve: Any, visit: Any) -> None:
    stream.step()
    seen = visit(serve(token="secret"))
    seen.page.get_by_label("This page needs the token").fill("secret")
    seen.page.keyboard.press("Enter")
    seen.until(lambda: seen.frames())
    assert "secret" not in seen.page.url
    assert seen.page.evaluate("document.cookie") == ""


@pytest.mark.parametrize(("width", "height"), [(320, 640), (390, 844), (1440, 900)])
def test_everything_has_room(stream: Any, visit: Any, width: int, height: int) -> None:
    stream.step()
    seen = visit(viewport={"width": width, "height": height}, color_scheme="light")
    seen.until(lambda: seen.words() and seen.frames())
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    found = seen.page.locator("button:visible, a:visible, input:visible").evaluate_all(
        """all => all.map(one => ({
            html: one.outerHTML, left: one.getBoundingClientRect().left, right: one.getBoundingClientRect().right,
            name: one.ariaLabel || one.innerText || one.labels?.[0]?.innerText,
        }))"""
    )
    assert len(found) > 15
    for element in found:
        assert 0 <= element["left"] < element["right"] <= width, element
        assert element["name"], element  # as a screen reader says it


def test_keys_are_listed(running: Any, visit: Any) -> None:
    seen = visit()
    seen.until(lambda: seen.frames())
    seen.page.keyboard.press("?")
    assert "hide or show a word" in seen.page.inner_text("dialog[open]")
    seen.page.keyboard.press("Escape")
    with seen.page.expect_download() as saved:
        seen.page.keyboard.press("m")
    assert saved.value.suggested_filename == "masks.png"


def test_several_sources_are_listed(running: Any, serve: Any, visit: Any) -> None:
    seen = visit(serve({"front": running.channel, "rear": running.channel}))
    seen.until(lambda: "live" in seen.page.inner_text("#sources"))
    seen.page.get_by_role("link", name="rear").click()
    seen.until(lambda: seen.frames())
    assert seen.page.title() == "rear · TCL Edge"
    assert seen.complaints == []
