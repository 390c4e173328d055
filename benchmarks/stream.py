"""The whole loop against a straightforward one: python benchmarks/stream.py [--quick]

Every frame of the shipped clip is decoded, segmented and painted. Straightforward is what OpenCV, ONNX Runtime and
NumPy give: read, resize, normalise, run, the best of each word's synonyms, resize all masks to the frame, argmax, a
table of colours, blend. Both have the same graph, words and threads, and no refinement. They take turns, so that a busy
machine disturbs both; times are of the wall, for ours works on several frames at once.

With it: how the frames of a camera age (a live source that sends at half the speed that the loop can go), and what
viewers of the page cost the process.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime
from timing import cell, parser_of, processor, report

from runtime import Bundle, Segmenter
from runtime.frame import input_size
from runtime.serve.channel import Channel
from runtime.serve.server import Server
from runtime.sinks.sink import Sink
from runtime.sources.live import LiveSource, Picture
from runtime.sources.open import SHIPPED_CLIP, open_source
from runtime.stream.loop import stream
from runtime.stream.monitor import Monitor

WORDS = (
    "car, road|asphalt, tree, sky, person, wheel, windscreen, building, grass, traffic light, sign, bridge, fence, "
    "truck, bus, bicycle, dog, lamp, wall, window, door, roof, water, mountain, rock, sand, flower, plant, bench, "
    "chair, table, cup, bottle, book, phone, laptop, keyboard, bag, hat, shoe, shirt, umbrella, clock, cat, bird, "
    "horse, cow, sheep, boat, train, aeroplane, motorbike, bed, sofa, lamp post, curtain, carpet, mirror, picture, box"
)
PATIENCE_S = 8.0
"""For a turn of the straightforward loop: at most so many frames as fit, of which the mean is taken."""
SIZES = {"768 x 432, 20 words": ((768, 432), 20), "1920 x 1080, 60 words": ((1920, 1080), 60)}


class Painted(Sink):
    """Wants every frame painted, and keeps none."""

    frames = 0

    def write(self, result: object, frame: object, picture: object) -> None:
        self.frames += 1


def enlarged(size_wh: tuple[int, int], folder: Path) -> Path:
    """The shipped clip at another size."""
    path = folder / f"{size_wh[0]}.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "20"})
        video.width, video.height = size_wh
        for frame in open_source(str(SHIPPED_CLIP)):
            image = np.ascontiguousarray(cv2.resize(frame.image, size_wh))
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(video.encode())
    return path


class Straightforward:
    """What one writes in an afternoon."""

    def __init__(self, bundle: Bundle, segmenter: Segmenter, threads: int) -> None:
        manifest, vocabulary = bundle.manifest, segmenter.vocabulary
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            bundle.read(manifest.segmenter.file), options, providers=["CPUExecutionProvider"]
        )
        self.spec = manifest.input
        self.text = vocabulary.embeddings
        counts = [len(vocabulary.background), *(len(word.phrases) for word in vocabulary.classes)]
        self.begins = np.cumsum([0, *counts])
        self.threshold = vocabulary.constant
        self.colours = segmenter(np.zeros((64, 64, 3), np.uint8)).colours
        (self.masks,) = (output.name for output in self.session.get_outputs() if "mask" in output.name)

    def __call__(self, path: Path) -> int:
        capture = cv2.VideoCapture(str(path))
        frames, begin = 0, time.perf_counter()
        while True:
            read, frame = capture.read()
            if not read or time.perf_counter() - begin > PATIENCE_S:
                return frames
            height, width = input_size((frame.shape[0], frame.shape[1]), self.spec)
            image = cv2.resize(frame, (width, height))[..., ::-1].astype(np.float32) / 255
            image = (image - np.array(self.spec.mean, np.float32)) / np.array(self.spec.std, np.float32)
            feeds = {"image": image.transpose(2, 0, 1)[None], "text": self.text}
            masks = self.session.run([self.masks], feeds)[0][0]
            merged = np.stack([masks[a:b].max(0) for a, b in zip(self.begins, self.begins[1:], strict=False) if b > a])
            large = np.stack([cv2.resize(mask, (frame.shape[1], frame.shape[0])) for mask in merged])
            if self.threshold is not None:
                large[0] = np.maximum(large[0], self.threshold)
            labels = large.argmax(0)
            cv2.addWeighted(frame, 0.5, self.colours[labels], 0.5, 0)
            frames += 1


def compared(folder: Path, turns: int, threads: int) -> Iterator[str]:
    bundle = Bundle.open("tiny")
    yield "| frame, words | ours, ms a frame | straightforward | ratio | ours, not network |"
    yield "|---|---|---|---|---|"
    for name, (size_wh, count) in SIZES.items():
        path = enlarged(size_wh, folder)
        with Segmenter(bundle, ", ".join(WORDS.split(", ")[:count]), refine="none", threads=threads) as segmenter:
            plain = Straightforward(bundle, segmenter, threads)
            ours_ms, plain_ms, shares = [], [], []
            for turn in range(turns + 1):
                source, sink = open_source(str(path)), Painted()
                monitor = Monitor(source)
                begin = time.perf_counter()
                stream(source, segmenter, [sink], monitor=monitor)
                took = time.perf_counter() - begin
                if turn:  # the first pays for memory and threads
                    ours_ms.append(1000 * took / sink.frames)
                    shares.append(1 - monitor.latency.percentiles()["infer"][0] / ours_ms[-1])
                begin = time.perf_counter()
                frames = plain(path)
                took = time.perf_counter() - begin
                if turn:
                    plain_ms.append(1000 * took / frames)
        ratio = np.median(plain_ms) / np.median(ours_ms)
        share = np.median(shares)
        yield f"| {name} | {cell(np.array(ours_ms))} | {cell(np.array(plain_ms))} | {ratio:.1f} | {share:.0%} |"


class Clip:
    """A camera that shows a clip over and over, at a rate of its own."""

    def __init__(self, images: list[np.ndarray], fps: float) -> None:
        self._images, self.fps = images, fps
        self._begin_s, self._index = time.monotonic(), 0

    def read(self) -> Picture:
        self._index += 1
        time.sleep(max(self._begin_s + self._index / self.fps - time.monotonic(), 0))
        return Picture(self._images[self._index % len(self._images)].copy())

    def close(self) -> None:
        pass


VIEWERS = """
import asyncio, json, sys, aiohttp
async def watch(session, page):
    async with session.ws_connect(page + "live", headers={"Origin": page.rstrip("/")}) as socket:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                head = json.loads(message.data[:message.data.index(b"\\n")])
                await socket.send_json({"ack": head["frame"]})
async def main(page, count):
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(watch(session, page) for _ in range(count)))
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def live(
    segmenter: Segmenter, fps: float, seconds: float, viewers: int = 0
) -> tuple[Monitor, LiveSource, list[float], float]:
    """A camera for a while: what the monitor saw, ages of the painted frames, and milliseconds of processor a frame."""
    images = [frame.image for frame in open_source(str(SHIPPED_CLIP))]
    source = LiveSource("a camera", lambda: Clip(images, fps))
    monitor, stop, ages = Monitor(source), threading.Event(), []
    channel = Channel(segmenter, monitor.status)
    with ExitStack() as stack:
        if viewers:
            server = stack.enter_context(Server({"": channel}, "127.0.0.1", 0))
            server.start()
            watching = subprocess.Popen([sys.executable, "-c", VIEWERS, server.address, str(viewers)])
            stack.callback(watching.wait)
            stack.callback(watching.kill)
            time.sleep(2)  # until all of them are there
        begin_s = time.process_time()
        threading.Timer(seconds, stop.set).start()
        stream(
            source,
            segmenter,
            [Painted(), channel],
            monitor=monitor,
            stop=stop,
            on_done=lambda work: ages.append(work.stages_ms["end to end"]),
        )
        took_ms = 1000 * (time.process_time() - begin_s)
    return monitor, source, ages, took_ms / monitor.latency.frames


def cameras(seconds: float, turns: int, threads: int) -> Iterator[str]:
    with Segmenter("tiny", ", ".join(WORDS.split(", ")[:20]), refine="none", threads=threads) as segmenter:
        source = open_source(str(SHIPPED_CLIP))
        monitor = Monitor(source)
        stream(source, segmenter, [Painted()], monitor=monitor)
        rate = monitor.latency.fps
        yield "| camera | frames | dropped | p50, ms | p90 | p99 | p99 / p50 | p50 of the first and of the last third |"
        yield "|---|---|---|---|---|---|---|---|"
        for name, fps in (("half as fast as the loop", rate / 2), ("twice as fast", 2 * rate)):
            monitor, source, ages, _ = live(segmenter, fps, seconds)
            p50, p90, p99 = np.percentile(ages, (50, 90, 99))
            third = len(ages) // 3
            first, last = np.median(ages[:third]), np.median(ages[-third:])
            yield (
                f"| {name}, {fps:.0f} fps | {monitor.latency.frames} | {source.dropped} | {p50:.1f} | {p90:.1f} "
                f"| {p99:.1f} | {p99 / p50:.1f} | {first:.1f}, {last:.1f} |"
            )
        alone, watched = [], []
        for _ in range(turns):
            alone.append(live(segmenter, rate / 3, min(seconds, 20))[3])
            watched.append(live(segmenter, rate / 3, min(seconds, 20), viewers=10)[3])
        more = np.median(watched) / np.median(alone) - 1
        yield ""
        times = f"alone {cell(np.array(alone))} ms, with ten viewers {cell(np.array(watched))} ms: {more:+.0%}"
        yield f"Processor time a frame: {times}."


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns, a shorter camera")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    turns, seconds = (2, 15.0) if options.quick else (7, 120.0)
    machine = f"{processor()}, {options.threads} threads"
    told = f"`python benchmarks/stream.py`: {machine}; medians, middle half of {turns} turns."
    lines = ["# The whole loop", "", told, ""]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines += compared(folder, turns, options.threads)
    lines += ["", "From arrival to the painted frame:", ""]
    lines += cameras(seconds, min(turns, 3), options.threads)
    report(options.output, "stream.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
