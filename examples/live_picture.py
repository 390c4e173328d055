"""A picture of the page (docs/live.png): the shipped clip, segmented live, in a real browser.

    python examples/live_picture.py [docs/live.png] [--browser /usr/bin/chromium]

Needs `pip install -e ".[serve]" playwright` and Chromium. The words are typed into the page.
"""

import argparse
from pathlib import Path
from threading import Event, Thread
from time import sleep

from playwright.sync_api import Page, sync_playwright

from runtime.overlay import Look
from runtime.segmenter import Segmenter
from runtime.serve.channel import Channel
from runtime.serve.server import Server
from runtime.sources.loop import LoopSource
from runtime.sources.open import open_source
from runtime.stream.loop import stream
from runtime.stream.monitor import Monitor

TYPED = "road|ground|asphalt, wheel"
SIZE = {"width": 1400, "height": 860}
SEEN = 20
"""Percent of the picture that car and road cover at least, when it is taken."""


def watch(page: Page, address: str, path: Path, going: Event) -> None:
    """Type the words, and take the picture once the chart has a past; the stream stands meanwhile."""
    page.goto(address)
    page.fill("#new-word", TYPED)
    page.keyboard.press("Enter")
    page.get_by_text("wheel", exact=True).first.wait_for()
    sleep(12)
    page.evaluate("document.activeElement.blur()")
    while True:
        going.clear()
        sleep(0.4)
        shares = [int(share.strip(" <%–") or 0) for share in page.locator(".share").all_inner_texts()]
        if min(shares[:2]) >= SEEN:
            break
        going.set()
        sleep(0.4)
    page.screenshot(path=path)


def main() -> None:
    """Stream, serve and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, nargs="?", default=Path("docs/live.png"))
    parser.add_argument("--browser", default="/usr/bin/chromium", help="a Chromium")
    options = parser.parse_args()
    going, stop, source = Event(), Event(), LoopSource(lambda: open_source("test://cars"))
    going.set()
    with Segmenter("tiny", "car") as segmenter:
        monitor = Monitor(source)
        channel = Channel(segmenter, monitor.status)
        streaming = Thread(
            target=stream,
            args=(source, segmenter, [channel]),
            kwargs={"monitor": monitor, "look": Look(), "stop": stop, "on_frame": lambda _: going.wait()},
        )
        streaming.start()
        with Server({"": channel}, "127.0.0.1", 0) as server, sync_playwright() as program:
            server.start()
            browser = program.chromium.launch(executable_path=options.browser, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE, color_scheme="dark", device_scale_factor=1)
            try:
                watch(page, server.address, options.picture, going)
            finally:
                stop.set()
                going.set()
                streaming.join()
                browser.close()


if __name__ == "__main__":
    main()
