"""An exported bundle, measured as the runtime runs it.

The only file of this package that may import `runtime`, which owns bundles.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tcl_core.errors import ConfigError, ModelFileError
from tcl_core.evaluate.soft_masks import Described, SoftMasks, described
from tcl_core.prompts import Word


def network_size(picture_size: tuple[int, int], side: int, multiple_of: int) -> tuple[int, int]:
    """Choose the network's (height, width) for a picture of (height, width) by the runtime's own rule."""
    from runtime.frame import free_size

    return free_size(picture_size, side, multiple_of)


def bundle_segment(
    path: Path, words: tuple[Word, ...], *, size: int | None = None, pamr: bool | None = None
) -> Described:
    """Make an exported bundle ready to be measured, as the runtime runs it, its own background included.

    `pamr` turns refinement on or off; None leaves it as the bundle has it. Every mask is refined, those too that cannot
    win against the others, which the runtime leaves out: when fewer words compete they may.

    Raises:
        ConfigError: no such bundle, or it cannot embed the words.
        ModelFileError: it is damaged.
    """
    # Bundles are read by their owner; this is the only place where training looks at deployment.
    from runtime import Segmenter
    from runtime.errors import TclEdgeError, UsageError
    from runtime.kernels.pamr import enlarged
    from runtime.kernels.pamr import pamr as refine_masks
    from runtime.words.word_class import WordClass

    try:
        classes = [WordClass(word.synonyms[0], tuple(word.synonyms[1:])) for word in words]
        segmenter = Segmenter(path, classes, size=size, refine="none")
    except UsageError as error:
        raise ConfigError(str(error)) from error
    except TclEdgeError as error:
        raise ModelFileError(str(error)) from error
    output = segmenter.bundle.manifest.output
    refined = output.refine == "pamr" if pamr is None else pamr

    def segment(image: Image.Image) -> SoftMasks:
        frame = np.ascontiguousarray(np.asarray(image)[..., ::-1])
        result = segmenter(frame)
        soft_masks = result.soft_masks
        if refined:
            height, width = soft_masks.shape[1:]
            soft_masks = refine_masks(enlarged(soft_masks, (height * output.stride, width * output.stride)), frame)
        masks = torch.from_numpy(soft_masks)
        floor = torch.full(masks.shape[1:], -1.0 if result.threshold is None else result.threshold)
        if len(masks) > len(words):  # the first are the background's words
            floor = torch.maximum(floor, masks[0])
        return SoftMasks(masks[len(masks) - len(words) :], floor)

    vocabulary = segmenter.vocabulary
    side = size or segmenter.bundle.manifest.input.size
    area = " x ".join(map(str, side if isinstance(side, tuple) else (side, side)))
    return described(
        segment,
        pictures=f"whole pictures of {area} pixels" + ("" if isinstance(side, tuple) else "' area"),
        refined=refined,
        threshold=vocabulary.threshold,
        num_background=len(vocabulary.background),
    )


__all__ = ["bundle_segment", "network_size"]
