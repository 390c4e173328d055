"""Triton model repositories. Oracles: tritonclient's own messages, and ONNX Runtime's view of the graphs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.errors import BundleCorruptError, BundlePathError, WriteError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
text_format = pytest.importorskip("google.protobuf.text_format")
messages = pytest.importorskip("tritonclient.grpc.model_config_pb2")

from export.triton import config, model_name, write_model_repository  # noqa: E402 - needs onnx

TYPES = {"tensor(float)": "TYPE_FP32", "tensor(float16)": "TYPE_FP16", "tensor(int64)": "TYPE_INT64"}


def described(values) -> dict[str, tuple[str, list[int]]]:
    """Name to type and dimensions, as ONNX Runtime sees them."""
    return {
        value.name: (TYPES[value.type], [-1 if isinstance(size, str) else size for size in value.shape])
        for value in values
    }


def parsed(path: Path) -> messages.ModelConfig:
    return text_format.Parse(path.read_text(), messages.ModelConfig())


def test_every_graph_is_there_and_its_configuration_is_what_the_graph_is(tiny: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    written = write_model_repository(tiny, folder)
    assert written == [folder / "tiny_segmenter", folder / "tiny_text_encoder"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models"]
    for model, graph in zip(written, (tiny.manifest.segmenter, tiny.manifest.text_encoder), strict=True):
        assert sorted(str(p.relative_to(model)) for p in model.rglob("*") if p.is_file()) == [
            "1/model.onnx",
            "config.pbtxt",
        ]
        assert (model / "1" / "model.onnx").read_bytes() == tiny.read(graph.file)
        message = parsed(model / "config.pbtxt")
        assert (message.name, message.backend, message.max_batch_size) == (model.name, "onnxruntime", 0)
        session = onnxruntime.InferenceSession(str(model / "1" / "model.onnx"))
        for tensors, values in ((message.input, session.get_inputs()), (message.output, session.get_outputs())):
            given = {t.name: (messages.DataType.Name(t.data_type), list(t.dims)) for t in tensors}
            assert given == described(values)


def test_the_dimensions_that_are_free_really_are(tiny: Bundle, tmp_path: Path) -> None:
    """Oracle: the graph takes what the configuration promises."""
    model, _ = write_model_repository(tiny, tmp_path / "models")
    message = parsed(model / "config.pbtxt")
    session = onnxruntime.InferenceSession(str(model / "1" / "model.onnx"))
    step = tiny.manifest.input.multiple_of
    for batch, rows, columns, words in ((1, 4, 4, 1), (2, 3, 5, 21)):
        sizes = {"image": [batch, 3, rows * step, columns * step], "text": [words, tiny.manifest.output.channels]}
        for tensor in message.input:
            assert all(want in (-1, have) for want, have in zip(tensor.dims, sizes[tensor.name], strict=True))
        inputs = {name: np.zeros(shape, np.float32) for name, shape in sizes.items()}
        (masks,) = session.run(None, inputs)
        assert masks.shape[:2] == (batch, words)


def test_other_models_stay_and_the_same_is_replaced_only_if_told(tiny: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "other" / "1").mkdir(parents=True)
    write_model_repository(tiny, folder)
    with pytest.raises(BundlePathError, match="tiny_segmenter exists: choose another folder, or add --overwrite"):
        write_model_repository(tiny, folder)
    (folder / "tiny_segmenter" / "config.pbtxt").write_text("old")
    write_model_repository(tiny, folder, overwrite=True)
    assert parsed(folder / "tiny_segmenter" / "config.pbtxt").backend == "onnxruntime"
    assert (folder / "other" / "1").is_dir()


def test_a_bundle_without_a_text_encoder_gives_one_model(tiny: Bundle, tmp_path: Path) -> None:
    bare = Bundle(tiny.path, tiny.manifest.model_copy(update={"text_encoder": None, "name": "my model/2"}))
    (model,) = write_model_repository(bare, tmp_path / "models")
    assert model.name == parsed(model / "config.pbtxt").name == "my_model_2_segmenter"
    assert [model_name(name) for name in ("../..", "", "ViT-B/16 (fp16)")] == ["_", "model", "ViT-B_16_fp16_"]


def test_half_precision_inputs_and_quotes_are_written_so(tiny: Bundle) -> None:
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT16, ["n", 2]) for name in ('x "1"', "y"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ['x "1"'], ["y"])], "g", [x], [y])
    data = onnx.helper.make_model(graph).SerializeToString()
    spec = tiny.manifest.segmenter.model_copy(update={"inputs": {'x "1"': ("n", 2)}, "outputs": {"y": ("n", 2)}})
    message = text_format.Parse(config("g", data, spec), messages.ModelConfig())
    assert (message.input[0].name, message.input[0].data_type) == ('x "1"', messages.TYPE_FP16)
    assert list(message.output[0].dims) == [-1, 2]


def test_what_does_not_fit_is_explained(tiny: Bundle, bundle_copy: Path, tmp_path: Path) -> None:
    graph = tiny.read(tiny.manifest.segmenter.file)
    with pytest.raises(BundleCorruptError, match=r"has \['image', 'text'\], its manifest says \['tokens'\]"):
        config("g", graph, tiny.manifest.segmenter.model_copy(update={"inputs": {"tokens": (1,)}}))
    opened = Bundle.open(bundle_copy)
    (bundle_copy / "text_encoder.onnx").write_bytes(b"")
    with pytest.raises(BundleCorruptError, match="is not the file that was exported"):
        write_model_repository(opened, tmp_path / "models")
    assert not (tmp_path / "models").exists()
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot be written "):
        write_model_repository(tiny, tmp_path / "file" / "models")


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "export.triton", "tiny", str(tmp_path / "models")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert f"tritonserver --model-repository={tmp_path / 'models'}" in done.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode == 2
    assert "error: " in again.stderr
    assert "Traceback" not in again.stderr
