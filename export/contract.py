"""What the segmenter's graph takes and gives: names, shapes, sizes, and whether the words are inside."""

from dataclasses import dataclass

import numpy as np

from export.intermediates import Arrays
from export.options import Options, Size, default_side, input_size
from export.parity import FloatArray, rare_words
from export.subject import Subject
from export.to_onnx import Signature
from runtime.bundle import GraphSpec, InputSpec, Shape
from runtime.words.vocabulary import Embeddings

FILE = "segmenter.onnx"


@dataclass(frozen=True, eq=False)
class Contract:
    """What a segmenter's graph takes and gives, whatever it computes with.

    Attributes:
        spec: names and shapes, as the manifest has them; nothing is kept in float32 yet.
        input: how frames become the graph's image.
        size: (height, width) in pixels that every image has; None if it is free.
        native: (height, width) that the graph is meant for: the fixed size, or a square.
        words: unit rows (M,C) of the bundle's words.
        folded: whether the words are inside the graph, which then takes nothing but one image.
    """

    spec: GraphSpec
    input: InputSpec
    size: Size | None
    native: Size
    words: Embeddings
    folded: bool

    @property
    def signature(self) -> Signature:
        """Names and shapes as tracing wants them."""
        return Signature(self.spec.inputs, self.spec.outputs)

    @property
    def channels(self) -> int:
        """C, of a row of text."""
        return int(self.words.shape[1])

    def inputs(self, image: FloatArray, text: FloatArray) -> Arrays:
        """Name the graph's inputs: image (B,3,H,W), and unit rows (N,C) unless the words are inside."""
        return {"image": image} if self.folded else {"image": image, "text": text}

    def rows(self, count: int) -> FloatArray:
        """Choose unit rows (N,C) to run the graph with.

        Args:
            count: N, first the bundle's words, then directions that no word has. Words inside the graph are all there
                is, however many are asked for.
        """
        if self.folded:
            return self.words
        return np.ascontiguousarray(np.concatenate([self.words, rare_words(count, self.channels)])[:count])


def segmenter_contract(subject: Subject, options: Options, words: Embeddings) -> Contract:
    """Fix what the segmenter of a subject takes and gives.

    Args:
        subject: the model.
        options: checked.
        words: unit rows (M,C) of the bundle's words.
    """
    size, side = input_size(options, subject), default_side(options, subject)
    height, width = size or ("height", "width")
    cells = ("mask_height", "mask_width")
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    if options.fold_text:
        inputs, outputs = {"image": (1, 3, height, width)}, {"masks": (1, len(words), *cells)}
    else:
        inputs = {"image": ("batch", 3, height, width), "text": ("words", words.shape[1])}
        outputs = {"masks": ("batch", "words", *cells)}
    preprocess = subject.model.preprocess
    return Contract(
        spec=GraphSpec(file=FILE, precision=options.precision, opset=options.opset, inputs=inputs, outputs=outputs),
        input=InputSpec(
            size=size or side,
            multiple_of=preprocess.multiple_of,
            mean=preprocess.mean,
            std=preprocess.std,
            interpolation=preprocess.interpolation,
            antialias=preprocess.antialias,
        ),
        size=size,
        native=size or (side, side),
        words=words,
        folded=options.fold_text,
    )


__all__ = ["Contract", "segmenter_contract"]
