"""A bundle's graphs as a model repository of the Triton inference server.

    DIR/NAME_segmenter/config.pbtxt       DIR/NAME_segmenter/1/model.onnx
    DIR/NAME_text_encoder/config.pbtxt    DIR/NAME_text_encoder/1/model.onnx

The words are an input of the segmenter, so clients change them from one request to the next. They are also why Triton
must not batch on its own: two requests with different words cannot become one, hence `max_batch_size: 0` and explicit
dimensions. A client preprocesses frames and enlarges masks as `runtime.Segmenter` does.
"""

import json
import re
from pathlib import Path
from typing import Annotated

import onnx
import typer

from runtime.atomic_file import write_directories
from runtime.bundle import Bundle, GraphSpec
from runtime.commands import Command, console
from runtime.errors import BundleCorruptError, BundleError, BundlePathError

DATA_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.INT64: "TYPE_INT64",
    onnx.TensorProto.INT32: "TYPE_INT32",
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def write_model_repository(bundle: Bundle, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the graphs of a bundle into a model repository, which may have other models.

    Args:
        bundle: with the graphs.
        folder: of the repository; made if it is not there.
        overwrite: replace models of the same name.

    Returns:
        The models' folders.

    Raises:
        BundlePathError: a model of that name is there already.
        BundleCorruptError: a graph is not what the manifest says.
        WriteError: the repository cannot be written; nothing in it has changed.
    """
    manifest = bundle.manifest
    graphs = {"segmenter": manifest.segmenter}
    if manifest.text_encoder is not None:
        graphs["text_encoder"] = manifest.text_encoder
    models = {f"{model_name(manifest.name)}_{role}": graph for role, graph in graphs.items()}
    targets = [folder / name for name in models]
    for target in targets:
        if target.exists() and not overwrite:
            raise BundlePathError(f"{target} exists: choose another folder, or add --overwrite")
    files = {folder / name: _files(name, bundle.read(graph.file), graph) for name, graph in models.items()}
    # Beside the repository and not in it: a server that polls must not see half a model.
    write_directories(files, staging=folder.resolve().parent)
    return targets


def model_name(name: str) -> str:
    """Make a name that Triton and the paths of its HTTP interface take."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip(".") or "model"


def _files(name: str, graph: bytes, spec: GraphSpec) -> dict[str, bytes]:
    return {"1/model.onnx": graph, "config.pbtxt": config(name, graph, spec).encode()}


def config(name: str, graph: bytes, spec: GraphSpec) -> str:
    """Describe a graph in the text format of Triton's `ModelConfig`.

    Raises:
        BundleCorruptError: the graph has other inputs or outputs than its manifest says.
        BundleError: it has data types that Triton does not take.
    """
    model = onnx.load_from_string(graph).graph
    stored = {weight.name for weight in model.initializer}
    inputs = [value for value in model.input if value.name not in stored]
    for values, shapes in ((inputs, spec.inputs), (model.output, spec.outputs)):
        names = sorted(value.name for value in values)
        if names != sorted(shapes):
            raise BundleCorruptError(
                f"{spec.file} has {names}, its manifest says {sorted(shapes)}: export the bundle again"
            )
    lines = [f"name: {json.dumps(name)}", 'backend: "onnxruntime"', "max_batch_size: 0"]
    lines += [_tensor("input", value, spec.inputs[value.name]) for value in inputs]
    lines += [_tensor("output", value, spec.outputs[value.name]) for value in model.output]
    return "\n".join(lines) + "\n"


def _tensor(kind: str, value: onnx.ValueInfoProto, shape: tuple[int | str, ...]) -> str:
    data_type = DATA_TYPES.get(value.type.tensor_type.elem_type)
    if data_type is None:
        raise BundleError(
            f"{value.name} has the data type {value.type.tensor_type.elem_type}, expected float or integer"
        )
    sizes = ", ".join("-1" if isinstance(size, str) else str(size) for size in shape)
    meaning = ", ".join(map(str, shape))
    return "\n".join(
        [
            f"{kind} {{  # ({meaning})",
            f"  name: {json.dumps(value.name)}",
            f"  data_type: {data_type}",
            f"  dims: [ {sizes} ]",
            "}",
        ]
    )


@app.command(cls=Command, no_args_is_help=True)
def run(
    bundle: Annotated[str, typer.Argument(help="Name of a shipped bundle, or path of a NAME.tclb directory.")],
    folder: Annotated[Path, typer.Argument(help="Model repository to write, or to add the bundle's graphs to.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace models of the same name.")] = False,
) -> None:
    """Write a bundle's graphs as a model repository for the Triton inference server."""
    models = write_model_repository(Bundle.open(bundle), folder, overwrite=overwrite)
    console.print(f"wrote {', '.join(map(str, models))}; next:", soft_wrap=True)
    console.print(f"  tritonserver --model-repository={folder.resolve()}", soft_wrap=True)


if __name__ == "__main__":
    app()
