"""The bundle's own text encoder: words change on the device, without PyTorch."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from runtime.bundle import Bundle, TextSpec
from runtime.engine import OnnxRuntimeEngine
from runtime.errors import BundleCorruptError, VocabularyError
from runtime.vocabulary import Embeddings

ROWS_AT_ONCE = 64
"""Token rows per run: bounds the memory of a large text tower whatever the length of the word list."""


class BundleTextEncoder:
    """Encode phrases with a bundle's tokenizer and text graph.

    Args:
        bundle: has the tokenizer and the graph; they are loaded when the first unknown phrase comes.
        known: phrases whose unit rows are known already, such as those of the bundle's vocabulary.
    """

    def __init__(self, bundle: Bundle, known: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self._bundle = bundle
        self._known = dict(known)

    @cached_property
    def _tower(self) -> "_TextTower":
        return _TextTower(self._bundle)

    def encode(self, phrases: Sequence[str]) -> Embeddings:
        """Encode M phrases as unit rows (M,C) float32; each is the normalised mean over the bundle's templates.

        Raises:
            VocabularyError: a phrase has a part that the model never learnt, or the bundle has no text encoder.
        """
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._known]
        if new:
            self._known.update(zip(new, self._tower.encode(new), strict=True))
        rows = np.array([self._known[phrase] for phrase in phrases], np.float32)
        return rows.reshape(len(phrases), self._bundle.manifest.output.channels)


class _TextTower:
    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if manifest.text_encoder is None or manifest.text is None:
            raise VocabularyError(
                f"{bundle.path} was exported without a text encoder, so its words are fixed: "
                "export it again without --no-text-encoder, or with other --classes"
            )
        self._tokenizer = PhraseTokenizer(bundle.read(manifest.text.tokenizer), manifest.text)
        self._engine = OnnxRuntimeEngine(bundle.read(manifest.text_encoder.file), manifest.text_encoder)
        self._templates = manifest.text.templates

    def encode(self, phrases: list[str]) -> Embeddings:
        self._tokenizer.check(phrases)
        prompts = [template.format(phrase) for phrase in phrases for template in self._templates]
        rows = np.concatenate(
            [
                self._engine.infer({"tokens": self._tokenizer(prompts[start : start + ROWS_AT_ONCE])})["text"]
                for start in range(0, len(prompts), ROWS_AT_ONCE)
            ]
        )
        means = rows.reshape(len(phrases), len(self._templates), -1).mean(axis=1, dtype=np.float32)
        unit: Embeddings = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
        return unit


class PhraseTokenizer:
    """Texts -> int64 tokens (N,L), padded to the longest row or to the model's fixed length."""

    def __init__(self, tokenizer: bytes, spec: TextSpec) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer.decode())
        except Exception as error:  # the library raises bare Exception
            raise BundleCorruptError(f"{spec.tokenizer} is not a tokenizer ({error}): export again") from None
        self._spec = spec
        self._tokenizer.enable_padding(pad_id=spec.pad_id, length=spec.length)
        if spec.length is not None:
            self._tokenizer.enable_truncation(spec.length)

    def __call__(self, texts: list[str]) -> npt.NDArray[np.int64]:
        """Tokenise N texts."""
        return np.array([encoding.ids for encoding in self._tokenizer.encode_batch(texts)], np.int64)

    def check(self, phrases: list[str]) -> None:
        """Refuse phrases with pieces that the model never learnt: their mask would mean nothing.

        Raises:
            VocabularyError: quoting the first such phrase.
        """
        for phrase, encoding in zip(phrases, self._tokenizer.encode_batch(phrases), strict=True):
            pieces = [i for i, mask in zip(encoding.ids, encoding.attention_mask, strict=True) if mask]
            if not pieces or self._spec.unknown_id in pieces:
                raise VocabularyError(
                    f"the model does not know the word {phrase!r}, or a part of it: it was never in its training "
                    "texts; describe the thing in plain English words"
                )
