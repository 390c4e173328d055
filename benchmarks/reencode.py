"""How fast masked images go through the frozen tower of `tiny` and their gradient comes back: what TCL_v costs.

    python benchmarks/reencode.py [--size 224] [--images 32] [--rounds 5]

The tower as it is against the frozen copy that training uses (BatchNorm folded, activations that overwrite), each with
memory that goes back to the system after every step, as glibc does by default, and with memory that is kept. How memory
is treated holds for a whole process, so that every contender has its own; they take turns, one thread each.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from timing import cell, processor

from tcl_core.tiny.file import load_tiny
from tcl_core.train.allocator import keep_freed_memory

CONTENDERS = {"tower": ("tower", ""), "tower, kept": ("tower", "kept"), "frozen": ("frozen", "")}
CONTENDERS |= {"frozen, kept: as training does": ("frozen", "kept")}


def serve(encoder: str, memory: str, size: int, images: int) -> None:
    """Take a turn for every line that comes in, and answer with milliseconds of processor time an image."""
    if memory:
        keep_freed_memory()
    torch.set_num_threads(1)
    tower = load_tiny().image_encoder.requires_grad_(False)
    if encoder == "frozen":
        tower = tower.frozen()
    pictures = torch.rand(images, 3, size, size).contiguous(memory_format=torch.channels_last)
    pictures.requires_grad_()
    for _ in sys.stdin:
        begin = time.process_time()
        torch.autograd.grad(tower.embed(pictures).square().sum(), pictures)
        print(1000 * (time.process_time() - begin) / images, flush=True)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(*CONTENDERS[given.serve], given.size, given.images)
        return
    base = [sys.executable, __file__, f"--size={given.size}", f"--images={given.images}", "--serve"]
    running = {
        name: subprocess.Popen([*base, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in CONTENDERS
    }
    taken: dict[str, list[float]] = {name: [] for name in running}
    for _ in track(range(given.rounds + 1), description="rounds"):
        for name, process in running.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            taken[name].append(float(process.stdout.readline()))
    for process in running.values():
        process.communicate()
    title = f"{processor()}, one thread, torch {torch.__version__}, {given.images} images of {given.size} px"
    table = Table("", "ms an image", "times as fast", title=title)
    first = np.array(taken["tower"][1:])  # the first round warms up
    for name, times in taken.items():
        turns = np.array(times[1:])
        table.add_row(name, cell(turns), f"{np.median(first / turns):.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
