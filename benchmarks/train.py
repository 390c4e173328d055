"""Images a second of training, and the share of each stage.

    python benchmarks/train.py [toy|tiny|clip ...] [--steps 20] [--workers 0]

toy: toy CLIP on synthetic scenes written to shards. tiny: the shipped model on 224-pixel photographs in shards.
clip: ViT-B/16 with random weights, batch 8. "data alone" is what the loader gives when nothing trains: as long as it is
above the images a second of training, data is not the bottleneck.
"""

import argparse
import io
import platform
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from tcl_core.data.batches import Part
from tcl_core.data.scenes import draw_scene
from tcl_core.data.sources import ShardsConfig
from tcl_core.grounder import grounder_for
from tcl_core.load.build import ModelConfig, build_model
from tcl_core.model import TCL
from tcl_core.train.allocator import keep_freed_memory
from tcl_core.train.gather import SingleProcess
from tcl_core.train.loading import open_data, parts_from
from tcl_core.train.recipe import DataConfig, TrainConfig
from tcl_core.train.trainer import Trainer

WARM_UP = 3  # steps that are not counted


def write_shard(path: Path, count: int, size: int) -> None:
    """Write scenes enlarged to photographs of `size` pixels, JPEG 85, with noise so that they compress like them."""
    chance = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for number in range(count):
            scene = draw_scene(number)
            image = Image.fromarray(scene.rgb).resize((size, size), Image.Resampling.BICUBIC)
            noisy = np.asarray(image).astype(float) + chance.normal(0, 8, (size, size, 3))
            buffer = io.BytesIO()
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
            for suffix, content in (("jpg", buffer.getvalue()), ("txt", scene.caption.encode())):
                info = tarfile.TarInfo(f"{number:06d}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def clip_with_random_weights() -> TCL:
    from tcl_core.towers.open_clip import image_encoder_from, preprocess_of, random_clip, text_encoder_from

    clip = random_clip("ViT-B-16-quickgelu")
    encoder = image_encoder_from(clip, "maskclip")
    return TCL(encoder, text_encoder_from(clip), grounder_for(encoder), preprocess_of(clip, encoder)).eval()


def case(name: str, directory: Path, steps: int, workers: int) -> tuple[TrainConfig, TCL]:
    """What is measured: size, batch and model of each case."""
    size, batch, stored = {"toy": (64, 32, 64), "tiny": (224, 32, 256), "clip": (224, 8, 512)}[name]
    model = {"toy": ModelConfig("toy", num_stages=1, toy_steps=0), "tiny": ModelConfig("tiny", decoder=False)}.get(name)
    write_shard(directory / "000000.tar", 256, stored)
    data = DataConfig(
        sources=[ShardsConfig("shards", str(directory / "000000.tar"))],
        image_size=size,
        batch_size=batch,
        part_size=batch,
        augmentation="recipe",
        num_workers=workers,
    )
    config = TrainConfig(str(directory), data=data, steps=WARM_UP + steps, device="cpu", blocks_from_step=0)
    if model is None:
        return config, clip_with_random_weights()
    return replace(config, model=model), build_model(model, 0)


def loaded_per_second(parts: Iterator[Part], batch: int, steps: int) -> float:
    for _ in range(WARM_UP):
        next(parts)
    start = time.perf_counter()
    for _ in range(steps):
        next(parts)
    return batch * steps / (time.perf_counter() - start)


def measure(name: str, steps: int, workers: int) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        config, model = case(name, Path(directory), steps, workers)
        trainer = Trainer(config, model, SingleProcess(), torch.device("cpu"))
        source = open_data(config, SingleProcess(), Console(quiet=True))
        batch = config.data.batch_size
        alone = loaded_per_second(parts_from(config, trainer, source), batch, steps)
        parts = parts_from(config, trainer, source)
        for step in range(WARM_UP + steps):
            if step == WARM_UP:
                trainer.clock.seconds.clear()
                start = time.perf_counter()
            with trainer.clock.measure("data"):
                part = next(parts)
            trainer.train_step([part])
        seconds = time.perf_counter() - start
        shares = trainer.clock.seconds
    stages = ("data", "forward and backward", "update")
    rate = batch * steps / seconds
    return [name, str(batch), f"{rate:.1f}", f"{alone:.0f}", *(f"{shares[stage] / seconds:.1%}" for stage in stages)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["toy", "tiny"], choices=["toy", "tiny", "clip"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as the command does
    title = (
        f"{platform.machine()}, {arguments.threads} thread(s), {arguments.workers} worker(s), torch {torch.__version__}"
    )
    table = Table(
        "case", "batch", "images/s", "data alone, images/s", "data", "forward, backward", "update", title=title
    )
    for name in arguments.cases:
        table.add_row(*measure(name, arguments.steps, arguments.workers))
    Console().print(table)


if __name__ == "__main__":
    main()
