"""The file of `tiny`: weights, sizes and tokenizer side by side, written whole and checked when read."""

import json
import struct
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor

from tcl_core.atomic_file import write_together
from tcl_core.errors import ModelFileError
from tcl_core.model import TCL
from tcl_core.tiny.towers import FORMAT_VERSION, TinyConfig, build_tiny

DEFAULT_PATH = Path(__file__).parent / "weights" / "tiny.safetensors"


def _stored(tensor: Tensor) -> Tensor:
    # Matrices and kernels in half; BatchNorm statistics, biases and scales are small and stay exact.
    halve = tensor.is_floating_point() and tensor.ndim >= 2
    return (tensor.half() if halve else tensor).detach().contiguous().clone()


def save_tiny(model: TCL, config: TinyConfig, path: str | Path = DEFAULT_PATH) -> None:
    """Write `NAME.safetensors`, and beside it `NAME.json` and `NAME.tokenizer.json`: all of them, or none.

    Raises:
        WriteError: one cannot be written.
    """
    path = Path(path)
    tokenizer: Tokenizer = model.text_encoder.tokenizer  # type: ignore[assignment]
    weights = {
        name: _stored(tensor) for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    write_together(
        {
            path: save(weights),
            path.with_suffix(".json"): (json.dumps(asdict(config), indent=1) + "\n").encode(),
            path.with_suffix(".tokenizer.json"): tokenizer.to_str().encode(),
        }
    )


def _read_beside(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path} is missing or not text; it belongs beside the weights: {error}") from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelFileError(f"no model at {path}; make it with: python -m tcl_core.align configs/align_tiny.yaml")
    with path.open("rb") as file:
        head = file.read(512)
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"version https://git-lfs")):
        raise ModelFileError(f"{path} is a web page or a pointer, not weights: the download went wrong, repeat it")
    try:
        return dict(load_file(path))
    except (SafetensorError, struct.error, OSError) as error:
        raise ModelFileError(f"{path} is damaged or cut short ({path.stat().st_size} bytes): {error}") from error


def _check_weights(path: Path, weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or extra:
        raise ModelFileError(f"{path}: missing tensors {missing[:3]}, unexpected tensors {extra[:3]}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
            raise ModelFileError(f"{path}: {name} has shape {shapes}: do weights and {path.stem}.json belong together?")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelFileError(f"{path}: {name} has values that are not finite")


def read_tiny_config(path: str | Path | None = None) -> TinyConfig:
    """Read the JSON file beside the weights."""
    path = Path(path or DEFAULT_PATH).with_suffix(".json")
    text = _read_beside(path)
    try:
        config = TypeAdapter(TinyConfig).validate_json(text)
    except ValidationError as error:
        raise ModelFileError(f"{path} does not describe a tiny model: {error}") from error
    if config.format_version != FORMAT_VERSION:
        raise ModelFileError(f"{path}: format {config.format_version}, this version reads {FORMAT_VERSION}")
    return config


def load_tiny(path: str | Path | None = None) -> TCL:
    """Load the model in float32, in evaluation mode.

    Args:
        path: `NAME.safetensors` with `NAME.json` and `NAME.tokenizer.json` beside it; None is the packaged model.

    Raises:
        ModelFileError: a file is missing, cut short, not weights, of other shapes, or holds values not finite.
    """
    path = Path(path or DEFAULT_PATH)
    weights = _read_weights(path)
    config = read_tiny_config(path)
    tokenizer_path = path.with_suffix(".tokenizer.json")
    try:
        tokenizer = Tokenizer.from_str(_read_beside(tokenizer_path))
    except ModelFileError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise ModelFileError(f"{tokenizer_path} is not a tokenizer: {error}") from error
    model = build_tiny(config, tokenizer)
    expected = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    _check_weights(path, weights, expected)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()}, strict=False)
    return model.eval()
