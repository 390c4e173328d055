"""A camera that misbehaves, for as long as you like: python benchmarks/soak.py [--seconds 1200]

The command runs as a user starts it: an MJPEG camera on loopback, a page with viewers who come and go, a recording in
pieces, a log. The camera hangs up, freezes, changes its size, sends broken pictures; words are changed all the time.
What the process holds is looked at every second: memory, file descriptors, threads. It may not grow; the script ends
with 1 if it does.
"""

import argparse
import asyncio
import itertools
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import cv2
import numpy as np
from timing import processor

from runtime.sources.open import SHIPPED_CLIP, open_source

SIZES = ((320, 180), (256, 144))
MOST_GROWTH = {"memory": 0.04, "descriptors": 0.0, "threads": 0.0}
"""Of the medians of the last third over those of the second third; the first third warms up."""
SPARE = {"memory": 12.0, "descriptors": 3.0, "threads": 3.0}
"""MB and numbers that come and go with viewers and connections."""


@dataclass(frozen=True)
class Sample:
    """What a process holds: megabytes, and numbers."""

    memory: float
    descriptors: float
    threads: float


class Camera:
    """An MJPEG server whose connections end in all the ways that they do."""

    def __init__(self, fps: float) -> None:
        clip = [frame.image for frame in open_source(str(SHIPPED_CLIP))][:50]
        pictures = [[cv2.imencode(".jpg", cv2.resize(image, size))[1].tobytes() for image in clip] for size in SIZES]
        generator = random.Random(0)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.send_header("Connection", "close")
                self.end_headers()
                jpegs = generator.choice(pictures)
                end_s = time.monotonic() + generator.uniform(2, 12)
                try:
                    for index in itertools.count():
                        jpeg = jpegs[index % len(jpegs)]
                        if generator.random() < 0.02:
                            jpeg = jpeg[: len(jpeg) // 2]  # a part that is cut
                        self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\n")
                        self.wfile.write(b"Content-Length: %d\r\n\r\n" % len(jpeg) + jpeg + b"\r\n")
                        time.sleep(1 / fps)
                        if time.monotonic() > end_s:
                            break
                    if generator.random() < 0.4:
                        time.sleep(4)  # frozen: longer than anyone waits
                except OSError:
                    pass  # it hung up first
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/video"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def sampled(process: int) -> Sample:
    status = Path(f"/proc/{process}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return Sample(
        memory=int(fields["VmRSS"].split()[0]) / 1024,
        descriptors=len(list(Path(f"/proc/{process}/fd").iterdir())),
        threads=int(fields["Threads"]),
    )


async def watch(page: str, end_s: float) -> int:
    """View it, acknowledging or not, and come again; give the number of messages."""
    messages, generator = 0, random.Random(1)
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < end_s:
            try:
                async with session.ws_connect(f"{page}live", headers={"Origin": page.rstrip("/")}) as socket:
                    leaves_s = min(end_s, time.monotonic() + generator.uniform(1, 10))
                    while (left_s := leaves_s - time.monotonic()) > 0:
                        message = await asyncio.wait_for(socket.receive(), left_s)
                        if message.type is not aiohttp.WSMsgType.BINARY:
                            break
                        messages += 1
                        head = json.loads(message.data[: message.data.index(b"\n")])
                        if generator.random() < 0.9:
                            await socket.send_json({"ack": head["frame"]})
            except (TimeoutError, aiohttp.ClientError):
                await asyncio.sleep(0.1)
    return messages


def put_words(page: str, words: Sequence[str]) -> None:
    data = json.dumps({"classes": list(words)}).encode()
    request = urllib.request.Request(f"{page}words", data, {"Content-Type": "application/json"}, method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def soak(seconds: float, folder: Path, fps: float, size: int) -> tuple[list[Sample], dict[str, object], int]:
    """Run it, and give what it held every second, its last words about itself, and how often it was seen."""
    camera = Camera(fps)
    command = [sys.executable, "-m", "runtime", camera.address, "out.mp4", "--segment", "10s", "--stats", "stats.jsonl"]
    command += ["--serve", "0", "--classes", "car, road", "--imgsz", str(size), "--refine", "none", "--threads", "1"]
    samples: list[Sample] = []
    quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=pipe, text=True) as process:
        try:
            assert process.stderr is not None
            page = next(line.split()[1] for line in process.stderr if line.startswith("page: "))
            threading.Thread(target=process.stderr.read, daemon=True).start()
            end_s = time.monotonic() + seconds
            seen: list[int] = []
            viewers = [threading.Thread(target=lambda: seen.append(asyncio.run(watch(page, end_s)))) for _ in range(3)]
            for viewer in viewers:
                viewer.start()
            for second in itertools.count():
                if time.monotonic() >= end_s:
                    break
                time.sleep(1)
                samples.append(sampled(process.pid))
                if second % 3 == 0:
                    put_words(page, [("car", "road"), ("wheel", "sky", "tree"), ("car|vehicle",)][second // 3 % 3])
            for viewer in viewers:
                viewer.join()
            try:
                health = json.load(urllib.request.urlopen(f"{page}healthz", timeout=10))
            except urllib.error.HTTPError as error:  # it is reconnecting just now
                health = json.load(error)
        finally:
            process.terminate()
            process.wait(30)
            camera.close()
    return samples, health, sum(seen)


def growth(samples: list[Sample], what: str) -> tuple[float, float]:
    """Medians of the second and the last third."""
    values = np.array([getattr(sample, what) for sample in samples])
    third = len(values) // 3
    return float(np.median(values[third : 2 * third])), float(np.median(values[2 * third :]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--fps", type=float, default=15, help="of the camera")
    parser.add_argument("--size", type=int, default=128, help="of the network")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples, health, seen = soak(options.seconds, Path(folder), options.fps, options.size)
        pieces = len(list(Path(folder).glob("out-*.mp4")))
    print(f"{processor()}; {options.seconds:.0f} s of a camera at {options.fps:g} fps")
    print(f"{health['frames']} frames, {health['dropped']} dropped, {health['reconnects']} reconnects")
    print(f"{seen} messages to viewers, {pieces} pieces recorded")
    grown = False
    for what, most in MOST_GROWTH.items():
        before, after = growth(samples, what)
        peak = max(getattr(sample, what) for sample in samples)
        grows = after > before * (1 + most) + SPARE[what]
        grown |= grows
        print(f"{what}: {before:.0f}, then {after:.0f} (peak {peak:.0f}){'  GROWS' * grows}")
    if grown or not seen or not pieces or not health["frames"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
