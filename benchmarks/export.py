"""What exporting is worth on this machine: the official-size TCL in PyTorch and in ONNX Runtime, side by side.

    python benchmarks/export.py [--model ViT-B-16-quickgelu] [--size 448] [--rounds 5] [--threads N] [--cache DIR]

Random weights: speed does not depend on them. Each round runs every form once, in turn, so that whatever else the
machine does meets all of them; a row is the median of its ratios to the first row, round by round.

    PyTorch as published    the last block with queries, keys and an identity mask, as the reference code runs it
    PyTorch                 this package's model: values only in that block
    ONNX none/exact/winograd    the graphs of `python -m export --rewrite ...`
    ONNX attention, ...     one rewriting alone, see `export.rewrite.Part`
"""

import argparse
import platform
import sys
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # else this file itself would be `export`

from export.graph import SegmenterGraph
from export.operations import count_in_graph, count_in_pytorch
from export.parity import rare_words
from export.pictures import as_input, shipped_pictures
from export.rewrite import PARTS, Part, rewritten
from export.stages import Stages, default_folder, weights_key
from export.subject import RANDOM, Choice, load_subject
from export.to_onnx import Signature, to_onnx
from runtime.bundle import InputSpec
from tcl_core import TCL
from tcl_core.attention import Attention, ValueBlock
from tcl_core.heads import Grid

Form = Callable[[], np.ndarray]


class MaskedBlock(nn.Module):
    """The last block as the published code runs it: full attention whose mask hides everything but the cell itself."""

    def __init__(self, block: ValueBlock, num_heads: int) -> None:
        super().__init__()
        self.block = block
        dim = block.value.in_features
        qkv = nn.Linear(dim, 3 * dim)
        with torch.no_grad():
            qkv.weight[2 * dim :], qkv.bias[2 * dim :] = block.value.weight, block.value.bias
        self.attention = Attention(qkv, block.out, num_heads)

    def forward(self, cells: Tensor) -> Tensor:
        batch, height, width, dim = cells.shape
        tokens = cells.reshape(batch, height * width, dim)
        mask = torch.full((height * width, height * width), float("-inf"), device=cells.device).fill_diagonal_(0)
        block = self.block
        tokens = tokens + block.scale1(self.attention(block.norm1(tokens), mask))
        tokens = tokens + block.scale2(block.mlp(block.norm2(tokens)))
        return tokens.reshape(batch, height, width, dim)


def as_published(model: TCL) -> TCL:
    grounder = deepcopy(model.grounder)
    heads = model.image_encoder.final_block.attention.num_heads
    grounder.blocks.module = MaskedBlock(grounder.blocks.module, heads)
    return TCL(model.image_encoder, model.text_encoder, grounder, model.preprocess).eval()


def in_pytorch(model: TCL, image: np.ndarray, text: np.ndarray) -> Form:
    graph, inputs = SegmenterGraph(model).eval(), (torch.from_numpy(image), torch.from_numpy(text))

    def run() -> np.ndarray:
        with torch.inference_mode():
            return graph(*inputs).numpy()

    return run


def in_onnx(data: bytes, image: np.ndarray, text: np.ndarray, threads: int) -> Form:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": image, "text": text})[0]


def export(model: TCL, parts: frozenset[Part], size: Grid, stages: Stages) -> bytes:
    channels = model.image_encoder.embed_dim
    signature = Signature(
        {"image": ("batch", 3, *size), "text": ("words", channels)}, {"masks": ("batch", "words", "h", "w")}
    )
    sample = torch.rand(2, 3, *size), torch.rand(3, channels)

    def make() -> bytes:
        return to_onnx(SegmenterGraph(rewritten(model, parts, size)), sample, signature).SerializeToString()

    keys = [weights_key(model.image_encoder), weights_key(model.grounder)]
    return stages.result(f"tracing {sorted(parts)}", ["benchmark", *keys, sorted(parts), size], make)


def measure(forms: dict[str, Form], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 1):  # the first warms up
        for name, run in forms.items():
            begin = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16-quickgelu")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cache", type=Path, default=default_folder())
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    console, size = Console(highlight=False), (arguments.size, arguments.size)
    stages = Stages(arguments.cache, lambda stage, fate: console.print(f"{stage}: {fate}", style="dim"))

    model = load_subject(Choice(arguments.model, pretrained=RANDOM, head="tcl")).model
    p = model.preprocess
    spec = InputSpec(size=size, multiple_of=p.multiple_of, mean=p.mean, std=p.std, interpolation=p.interpolation)
    image, text = as_input(shipped_pictures()[:1], spec, size), rare_words(21, model.image_encoder.embed_dim)
    published = as_published(model)
    forms = {"PyTorch": in_pytorch(model, image, text), "PyTorch as published": in_pytorch(published, image, text)}
    shapes = image.shape, text.shape
    counts = {
        "PyTorch": count_in_pytorch(SegmenterGraph(model), shapes),
        "PyTorch as published": count_in_pytorch(SegmenterGraph(published), shapes),
    }
    alone: dict[str, frozenset[Part]] = {part: frozenset({part}) for part in ("attention", "positions", "phases")}
    for rewrite, parts in (PARTS | alone).items():
        data = export(model, parts, size, stages)
        forms[f"ONNX {rewrite}"] = in_onnx(data, image, text, arguments.threads)
        counts[f"ONNX {rewrite}"] = count_in_graph(onnx.load_from_string(data), {"image": image, "text": text})
    expected = forms["PyTorch"]()
    errors = {name: float(np.abs(run() - expected).max()) for name, run in forms.items()}
    seconds = measure(forms, arguments.rounds)

    title = (
        f"{arguments.model} with TCL's decoder, {size[0]} x {size[1]}, 21 words, float32, {arguments.threads} threads"
    )
    table = Table("form", "GMAC", "median ms", "times as fast as PyTorch", "largest error", title=title)
    for name, own in seconds.items():
        ratios = np.array(seconds["PyTorch"]) / np.array(own)
        table.add_row(
            name,
            f"{counts[name] / 1e9:.1f}",
            f"{1000 * np.median(own):.0f}",
            f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
            f"{errors[name]:.1e}",
        )
    console.print(table)
    console.print(
        f"{platform.machine()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, "
        f"{arguments.rounds} rounds, every form once a round"
    )


if __name__ == "__main__":
    main()
