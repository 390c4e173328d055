"""Words -> text embeddings: prompt templates, their averaging, synonyms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tcl_core.encoder import TextEncoder, normalize

# Prompts embedded at once; only memory depends on it.
CHUNK = 1024


@dataclass(frozen=True)
class Templates:
    """Prompts that a word is put into, and how their embeddings become one.

    Attributes:
        name: of the set.
        prompts: each with one `{}`.
        averaging: "raw" averages embeddings as they are, TCL's rule; "unit" normalises each first, the rule of CLIP,
            MaskCLIP and SCLIP. Both end with a unit vector.
    """

    name: str
    prompts: tuple[str, ...]
    averaging: Literal["raw", "unit"]

    def fill(self, word: str) -> list[str]:
        """Put a word into every prompt."""
        return [prompt.replace("{}", word) for prompt in self.prompts]


CUSTOM_PROMPTS = (
    "itap of a {}.",
    "a bad photo of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "a photo of many {}.",
    "a photo of {}s.",
)
SCENE_PROMPTS = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
TEMPLATE_NAMES = ("simple", "custom", "full", "maskclip", "none")


def templates(name: str) -> Templates:
    """Get a set of templates.

    `simple` is one prompt; `custom` TCL's nine, for numbers of the paper; `full` CLIP's eighty for ImageNet; `maskclip`
    those and five about scenes; `none` takes words as they are.

    Raises:
        ValueError: no set of that name.
    """
    if name == "simple":
        return Templates(name, ("a photo of a {}.",), "raw")
    if name == "custom":
        return Templates(name, CUSTOM_PROMPTS, "raw")
    if name == "full":
        return Templates(name, _imagenet_prompts(), "unit")
    if name == "maskclip":
        return Templates(name, _imagenet_prompts() + SCENE_PROMPTS, "unit")
    if name == "none":
        return Templates(name, ("{}",), "raw")
    raise ValueError(f"no templates {name!r}: expected one of {', '.join(TEMPLATE_NAMES)}")


def _imagenet_prompts() -> tuple[str, ...]:
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)


@dataclass(frozen=True)
class Word:
    """A class: the name it is shown under and everything it may be called.

    Attributes:
        name: shown to people.
        synonyms: at least one; the mask is the largest of theirs.
    """

    name: str
    synonyms: tuple[str, ...]


def parse_words(text: str) -> list[Word]:
    """Read "cat, sofa|couch, floor": words separated by commas, synonyms by bars, the first of them the name.

    Raises:
        ValueError: no words, an empty one, or the same name twice.
    """
    words = []
    for item in text.split(","):
        synonyms = tuple(" ".join(synonym.split()) for synonym in item.split("|"))
        if not all(synonyms):
            raise ValueError(f"an empty word in {text!r}: expected words like 'cat, sofa|couch, floor'")
        words.append(Word(synonyms[0], synonyms))
    names = [word.name for word in words]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"given twice: {', '.join(repeated)}; expected every word once")
    return words


@torch.inference_mode()
def embed_words(
    text_encoder: TextEncoder,
    words: list[str],
    prompts: Templates,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Embed words, each through all prompts.

    Args:
        text_encoder: of the model.
        words: N of them, without synonyms.
        prompts: and how to average.
        progress: called with (prompts done, prompts in all).

    Returns:
        Unit rows (N,C).

    Raises:
        ValueError: no words.
    """
    texts = [text for word in words for text in prompts.fill(word)]
    if not texts:
        raise ValueError("no words were given: expected at least one")
    device = next(text_encoder.parameters()).device
    chunks = []
    for start in range(0, len(texts), CHUNK):
        chunks.append(text_encoder(text_encoder.tokenize(texts[start : start + CHUNK]).to(device)))
        if progress:
            progress(min(start + CHUNK, len(texts)), len(texts))
    embeddings = torch.cat(chunks).reshape(len(words), len(prompts.prompts), -1)  # (N,P,C)
    if prompts.averaging == "unit":
        embeddings = normalize(embeddings, dim=-1)
    return normalize(embeddings.mean(dim=1), dim=-1)


def merge_synonyms(masks: Tensor, words: list[Word]) -> Tensor:
    """Give every word the largest mask of its synonyms: (B,M,H,W), one a synonym in order -> (B,N,H,W)."""
    groups = torch.split(masks, [len(word.synonyms) for word in words], dim=1)
    return torch.cat([group.amax(dim=1, keepdim=True) for group in groups], dim=1)


BACKGROUND = "background"


__all__ = ["BACKGROUND"]
