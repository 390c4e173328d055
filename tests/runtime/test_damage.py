"""Bundles that arrive damaged, are written while the power fails, or ask for what is not theirs.

Oracles: damage done on purpose, a process killed at each file, and a limit of the operating system on file sizes.
"""

import hashlib
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import load, save

from runtime import Segmenter
from runtime.bundle import Bundle
from runtime.errors import BundleCorruptError, BundleNotFoundError, EngineError


def replace_file(bundle: Path, name: str, data: bytes) -> None:
    """Replace a file and its record, so that only its content is wrong."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (b"", "0 bytes.*copy the bundle again"),
        (b"<!DOCTYPE html><html>404</html>", "it is a web page"),
        (b"\r\n  <HTML>404</HTML>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer, run `git lfs pull`"),
        (b"\x80\x04\x95garbage", "copy the bundle again"),
    ],
)
def test_what_took_a_files_place_is_named(bundle_copy: Path, data: bytes, advice: str) -> None:
    (bundle_copy / "segmenter.onnx").write_bytes(data)
    with pytest.raises(BundleCorruptError, match=rf"segmenter\.onnx is not the file that was exported.*{advice}"):
        Bundle.open(bundle_copy)


def graph_with_weights_at(location: str) -> bytes:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "w"], ["masks"])],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("masks", TensorProto.FLOAT, [1, 8])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


@pytest.mark.parametrize("location", ["../secret.bin", "secret.bin", "/etc/passwd"])
def test_a_graph_cannot_read_other_files(
    bundle_copy: Path, location: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file exists where the graph would look for it, and the graph's hash is right."""
    inside = tmp_path / "inside"
    inside.mkdir()
    for folder in (tmp_path, inside, bundle_copy):
        (folder / "secret.bin").write_bytes(np.ones(8, np.float32).tobytes())
    monkeypatch.chdir(inside)
    onnx.load_from_string(graph_with_weights_at(location))
    replace_file(bundle_copy, "segmenter.onnx", graph_with_weights_at(location))
    with pytest.raises(EngineError, match=r"refused segmenter\.onnx"):
        Segmenter(bundle_copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows * np.nan, "are not unit rows"),
        (lambda rows: rows * 2, "are not unit rows"),
        (lambda rows: rows[:, :-1], "it was made for another model"),
        (lambda rows: rows[:-1], "it was made for another model"),
        (lambda rows: rows.astype(np.float16), "float16"),
    ],
)
def test_embeddings_that_are_none_are_refused(tiny: Bundle, bundle_copy: Path, change: object, message: str) -> None:
    name = tiny.manifest.vocabulary
    data = tiny.read(name)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    rows = np.ascontiguousarray(change(load(data)["embeddings"]))
    replace_file(bundle_copy, name, save({"embeddings": rows}, metadata=header))
    with pytest.raises(BundleCorruptError, match=message):
        Segmenter(bundle_copy)


WRITE = """
    import sys
    from pathlib import Path
    import runtime.atomic_file as writer
    import runtime.bundle as bundle

    tiny, (target, stop_at, how) = bundle.Bundle.open("tiny"), sys.argv[1:]
    files = {name: tiny.read(name) for name in tiny.manifest.files}
    write, count = writer._write_durably, 0

    def interrupted(path, data, **mode):
        global count
        count += 1
        if how == "kill" and count == int(stop_at):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[: len(data) // 2])
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, data, **mode)

    writer._write_durably = interrupted
    if how == "full":
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(stop_at), int(stop_at)))
    bundle.write_bundle(Path(target), tiny.manifest, files, overwrite=True)
"""


def write_in_a_process(target: Path, stop_at: int, how: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", textwrap.dedent(WRITE), str(target), str(stop_at), how]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_a_kill_in_mid_write_leaves_no_half_bundle(tiny: Bundle, tmp_path: Path, stop_at: int) -> None:
    target = tmp_path / "new.tclb"
    assert write_in_a_process(target, stop_at, "kill").returncode == -signal.SIGKILL
    with pytest.raises(BundleNotFoundError):
        Bundle.open(target)
    assert write_in_a_process(target, 0, "complete").returncode == 0
    assert Bundle.open(target).manifest == tiny.manifest


def test_a_kill_in_mid_write_keeps_the_bundle_before(bundle_copy: Path, tiny: Bundle) -> None:
    assert write_in_a_process(bundle_copy, 3, "kill").returncode == -signal.SIGKILL
    assert Bundle.open(bundle_copy).manifest == tiny.manifest


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    done = write_in_a_process(tmp_path / "new.tclb", 1_000_000, "full")
    assert done.returncode == 1
    assert "new.tclb cannot be written (File too large)" in done.stderr
    assert list(tmp_path.iterdir()) == []
