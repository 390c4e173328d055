"""int8 in the ONNX graph: QuantizeLinear and DequantizeLinear around convolutions, scales measured on real pictures."""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

Arrays = Mapping[str, npt.NDArray[Any]]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Iterable[Arrays]) -> None:
        self._inputs: Iterator[Arrays] = iter(inputs)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        arrays = next(self._inputs, None)
        return None if arrays is None else dict(arrays)


def quantized(model: onnx.ModelProto, inputs: Iterable[Arrays], kinds: tuple[str, ...] = ("Conv",)) -> onnx.ModelProto:
    """Compute operators in int8: weights with a scale for each channel, activations with one each, zero at zero.

    Symmetric because TensorRT asks for it. The calibration takes the extremes.

    Args:
        model: float32; is left as it is.
        inputs: of real pictures, with words.
        kinds: operators to compute in int8.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        logging.disable(logging.WARNING)  # its advice to simplify the graph first, which is done
        try:
            quantize_static(
                copy,
                path,
                _Reader(inputs),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(kinds),
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": True, "MatMulConstBOnly": True},
            )
        finally:
            logging.disable(logging.NOTSET)
        result = onnx.load(path)
    onnx.checker.check_model(result, full_check=True)
    return result
