"""Runs of several processes that one interpreter forks: PyTorch takes longer to import than the runs take.

    python distributed_steps.py FOLDER ARGUMENT...

First two training steps, alone and shared in every way of `CASES`, of which rank 0 writes losses and gradients into the
folder; the second step is in the second phase, when the blocks train too. Then the training command with the arguments,
in two processes, and once more with a batch that they cannot share. Each process finds in its environment what torchrun
would say.
"""

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path

import torch
import torch._dynamo  # what optimizers import when they are made: here, before the processes part
import torch.multiprocessing as mp
from safetensors.torch import save_file

from tcl_core.data.batches import Part
from tcl_core.train.__main__ import app, processes
from tcl_core.train.gather import Gather
from tcl_core.train.losses import LossWeights
from tcl_core.train.recipe import DataConfig, OptimizerConfig, TrainConfig
from tcl_core.train.schedule import LearningRate
from tcl_core.train.toy import build_toy, scene_images
from tcl_core.train.trainer import Trainer

CPU = torch.device("cpu")
BATCH = 8
TEXTS = ("captions", "phrases")
CASES = {1: (8,), 2: (4, 2), 4: (2,)}
"""Number of processes to the sizes of parts."""


def record_steps(output: Path, part_size: int, phrases: bool, gather: Gather) -> None:
    config = TrainConfig(
        output=str(output),
        data=DataConfig(image_size=64, batch_size=BATCH, part_size=part_size, phrases=phrases),
        optimizer=OptimizerConfig(
            learning_rate=LearningRate(1e-2, 1e-2, reference_batch=0, warmup_steps=0), clip_norm=1e9
        ),
        losses=LossWeights(contrastive=0.1, region=0.1 * phrases),
        steps=2,
        blocks_from_step=1,
    )
    trainer = Trainer(config, build_toy(steps=0, num_stages=1), gather, CPU)
    images, captions = scene_images(range(2 * BATCH))
    recorded = {}
    for step in range(2):
        own = range(step * BATCH + gather.rank * trainer.share.own, 2 * BATCH)[: trainer.share.own]
        starts = range(own.start, own.stop, part_size)
        parts = [Part(images[s : s + part_size], captions[s : s + part_size], []) for s in starts]
        result = trainer.train_step(parts)
        recorded |= {f"{step}/loss/{name}": torch.tensor(value) for name, value in result.weighted.items()}
        for name, parameter in trainer.parameters.items():
            if parameter.grad is not None:
                recorded[f"{step}/{name}"] = parameter.grad.clone()
    if gather.rank == 0:
        save_file(recorded, output)


def join(rank: int, num_processes: int, port: int) -> None:
    """Become one of several processes, or stay alone."""
    torch.set_num_threads(1)
    if num_processes > 1:
        address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_processes)} | address


def record_all(rank: int, num_processes: int, port: int, folder: Path) -> None:
    join(rank, num_processes, port)
    with processes(CPU) as gather:
        for texts, part_size in product(TEXTS, CASES[num_processes]):
            output = folder / f"{texts}-{num_processes}-{part_size}.safetensors"
            record_steps(output, part_size, texts == "phrases", gather)


def run_command(rank: int, num_processes: int, port: int, arguments: list[str]) -> None:
    join(rank, num_processes, port)
    app(arguments)


def fork(work: Callable[..., None], num_processes: int, *arguments: object) -> None:
    """Run `work(rank, num_processes, port, ...)` in so many processes; an error in one is raised here."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    mp.start_processes(work, (num_processes, port, *arguments), nprocs=num_processes, start_method="fork")


if __name__ == "__main__":
    for number in CASES:
        fork(record_all, number, Path(sys.argv[1]))
    fork(run_command, 2, sys.argv[2:])
    with suppress(mp.ProcessExitedException):
        fork(run_command, 2, [*sys.argv[2:], "data.batch_size=9", f"output={sys.argv[1]}/odd"])
