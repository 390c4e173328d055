"""What exporting is worth on this machine: the official-size TCL in PyTorch and in ONNX Runtime, side by side.

    python benchmarks/export.py [--model ViT-B-16-quickgelu] [--size 448] [--rounds 5] [--threads N] [--cache DIR]
    python benchmarks/export.py --quick                       the same at 224 x 224, two rounds: is everything in place?
    python benchmarks/export.py --bundles A.tclb B.tclb ...   segmenters of exported bundles against the first

Random weights: speed does not depend on them. For each form the rounds run PyTorch, the plain ONNX graph and the form,
in turn, so that whatever else the machine does meets all three; ratios are taken round by round. One form at a time is
in memory.

    PyTorch as published    the last block with queries, keys and an identity mask, as the reference code runs it
    PyTorch                 this package's model: values only in that block
    ONNX none               the plain graph: `--rewrite none`
    ONNX attention, positions, phases, winograd    one rewriting alone, see `export.rewrite.Part`
    ONNX --rewrite exact, --rewrite winograd       what is exported: all that go together
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
from export.subject import load_subject
from export.to_onnx import Signature, to_onnx
from runtime.bundle import Bundle, InputSpec
from tcl_core import TCL
from tcl_core.load.choice import RANDOM, ModelChoice
from tcl_core.towers.attention import Attention, ValueBlock
from tcl_core.towers.heads import Grid

Form = Callable[[], np.ndarray]
Inputs = dict[str, np.ndarray]


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


def in_onnx(data: bytes, inputs: Inputs, threads: int) -> Form:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)[0]


def traced(model: TCL, parts: frozenset[Part], size: Grid, stages: Stages) -> bytes:
    channels = model.image_encoder.embed_dim
    signature = Signature(
        {"image": ("batch", 3, *size), "text": ("words", channels)}, {"masks": ("batch", "words", "h", "w")}
    )
    sample = torch.rand(2, 3, *size), torch.rand(3, channels)

    def make() -> bytes:
        return to_onnx(SegmenterGraph(rewritten(model, parts, size)), sample, signature).SerializeToString()

    return stages.result(f"tracing {', '.join(sorted(parts)) or 'the plain graph'}", key(model, parts, size), make)


def counted(model: TCL, parts: frozenset[Part], size: Grid, stages: Stages, data: bytes, inputs: Inputs) -> int:
    def make() -> bytes:
        return str(count_in_graph(onnx.load_from_string(data), inputs)).encode()

    return int(stages.result("counting operations", key(model, parts, size), make))


def key(model: TCL, parts: frozenset[Part], size: Grid) -> list[object]:
    return ["benchmark", weights_key(model.image_encoder), weights_key(model.grounder), sorted(parts), size]


def seconds_of(forms: dict[str, Form], rounds: int) -> dict[str, np.ndarray]:
    """Run every form once a round, in turn; the first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 1):
        for name, run in forms.items():
            begin = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return {name: np.array(own) for name, own in seconds.items()}


def ratio(base: np.ndarray, own: np.ndarray) -> str:
    ratios = base / own
    return f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"


PUBLISHED, PYTORCH, PLAIN = "PyTorch as published", "PyTorch", "ONNX none"
ALONE: tuple[Part, ...] = ("attention", "positions", "phases", "winograd")


def compare_rewritings(arguments: argparse.Namespace, console: Console) -> Table:
    size = (arguments.size, arguments.size)
    stages = Stages(arguments.cache, lambda stage, fate: console.print(f"{stage}: {fate}", style="dim"))
    model = load_subject(ModelChoice(arguments.model, pretrained=RANDOM, head="tcl")).model
    p = model.preprocess
    spec = InputSpec(size=size, multiple_of=p.multiple_of, mean=p.mean, std=p.std, interpolation=p.interpolation)
    image, text = as_input(shipped_pictures()[:1], spec, size), rare_words(21, model.image_encoder.embed_dim)
    inputs, shapes = {"image": image, "text": text}, (image.shape, text.shape)
    variants: dict[str, frozenset[Part]] = {f"ONNX {part}": frozenset({part}) for part in ALONE}
    variants |= {f"ONNX --rewrite {name}": PARTS[name] for name in ("exact", "winograd")}

    plain = traced(model, frozenset(), size, stages)
    base = {PYTORCH: in_pytorch(model, image, text), PLAIN: in_onnx(plain, inputs, arguments.threads)}
    expected = base[PYTORCH]()
    title = (
        f"{arguments.model} with TCL's decoder, {size[0]} x {size[1]}, 21 words, float32, {arguments.threads} threads"
    )
    columns = "form", "GMAC", "median ms", "times as fast as PyTorch", "as the plain graph", "largest error"
    table = Table(*columns, title=title)

    def measure(name: str, form: Form, operations: int) -> None:
        console.print(f"measuring {name}", style="dim")
        error = float(np.abs(form() - expected).max())
        seconds = seconds_of({**base, name: form}, arguments.rounds)
        own = seconds[name]
        ratios = ratio(seconds[PYTORCH], own), ratio(seconds[PLAIN], own)
        table.add_row(name, f"{operations / 1e9:.1f}", f"{1000 * np.median(own):.0f}", *ratios, f"{error:.1e}")

    published = as_published(model)
    measure(PUBLISHED, in_pytorch(published, image, text), count_in_pytorch(SegmenterGraph(published), shapes))
    measure(PLAIN, base[PLAIN], counted(model, frozenset(), size, stages, plain, inputs))
    del plain, published
    for name, parts in variants.items():
        data = traced(model, parts, size, stages)
        operations = counted(model, parts, size, stages, data, inputs)
        measure(name, in_onnx(data, inputs, arguments.threads), operations)
    return table


def compare_bundles(arguments: argparse.Namespace) -> Table:
    bundles = [Bundle.open(path) for path in arguments.bundles]
    first = bundles[0].manifest
    size = first.input.size if isinstance(first.input.size, tuple) else (first.input.size, first.input.size)
    image = as_input(shipped_pictures()[:1], first.input, size)
    inputs = {"image": image, "text": rare_words(21, first.output.channels)}
    forms = {str(b.path): in_onnx(b.read(b.manifest.segmenter.file), inputs, arguments.threads) for b in bundles}
    seconds, expected = seconds_of(forms, arguments.rounds), forms[str(bundles[0].path)]()
    title = (
        f"segmenters of bundles, {size[0]} x {size[1]}, 21 words, {arguments.threads} threads, ONNX Runtime on the CPU"
    )
    table = Table("bundle", "precision", "MB", "median ms", "times as fast as the first", "largest error", title=title)
    for bundle in bundles:
        name, graph = str(bundle.path), bundle.manifest.segmenter
        megabytes, error = bundle.manifest.files[graph.file].bytes / 1e6, np.abs(forms[name]() - expected).max()
        times = f"{1000 * np.median(seconds[name]):.1f}", ratio(seconds[str(bundles[0].path)], seconds[name])
        table.add_row(name, graph.precision, f"{megabytes:.1f}", *times, f"{error:.1e}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16-quickgelu")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cache", type=Path, default=default_folder())
    parser.add_argument("--quick", action="store_true", help="224 x 224, two rounds")
    parser.add_argument("--bundles", type=Path, nargs="+", help="compare these instead")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.rounds = 224, 2
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    console, begin = Console(highlight=False), time.monotonic()
    console.print(compare_bundles(arguments) if arguments.bundles else compare_rewritings(arguments, console))
    console.print(
        f"{platform.machine()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, "
        f"{arguments.rounds} rounds; everything took {time.monotonic() - begin:.0f} s"
    )


if __name__ == "__main__":
    main()
