"""The network of `tiny` against EfficientNet-Lite0 alone: python benchmarks/tiny_network.py [--size 320]

Both in ONNX Runtime with the same session settings (CPU, one thread), taking turns. EfficientNet-Lite0 alone is the
ImageNet classifier, pooling and last layer included; the network of `tiny` is the shipped bundle's segmenter, with ten
words.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch

from runtime.bundle import Bundle
from tcl_core.tiny.towers import with_static_padding

WORDS = 10


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def classifier(size: int) -> bytes:
    """EfficientNet-Lite0 with its classifier; its weights do not matter for its speed."""
    torch.manual_seed(0)
    network = with_static_padding(timm.create_model("tf_efficientnet_lite0", pretrained=False)).eval()
    program = torch.onnx.export(network, (torch.rand(1, 3, size, size),), dynamo=True, input_names=["image"])
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--bundle", default="tiny")
    arguments = parser.parse_args()

    bundle = Bundle.open(arguments.bundle)
    channels = bundle.manifest.output.channels
    rng = np.random.default_rng(0)
    image = rng.random((1, 3, arguments.size, arguments.size), np.float32)
    text = rng.standard_normal((WORDS, channels)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    contenders = {
        "EfficientNet-Lite0 alone": (session(classifier(arguments.size)), {"image": image}),
        f"segmenter of {Path(arguments.bundle).name}, {WORDS} words": (
            session(bundle.read(bundle.manifest.segmenter.file)),
            {"image": image, "text": text},
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(arguments.turns + 3):
        for name, (network, inputs) in contenders.items():
            start = time.process_time()
            network.run(None, inputs)
            if turn >= 3:
                seconds[name].append(time.process_time() - start)
    alone, tiny = (np.array(taken) for taken in seconds.values())
    for name, taken in seconds.items():
        print(f"{name}: {1000 * np.median(taken):.1f} ms of processor time at {arguments.size} px, one thread")
    ratios = tiny / alone
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(f"ratio {middle:.2f} (middle half of {arguments.turns} turns: {low:.2f} to {high:.2f})")
    print(f"onnxruntime {onnxruntime.__version__}")


if __name__ == "__main__":
    main()
