"""The bundle's own text encoder: words change on the device, without PyTorch."""

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle, GraphSpec, TextSpec
from runtime.engines.onnx import OnnxRuntimeEngine
from runtime.errors import BundleCorruptError, VocabularyError
from runtime.words.vocabulary import Embeddings
from runtime.words.word_class import refuse_unprintable

ROWS_AT_ONCE = 64
"""Token rows per run: bounds the memory of a large text tower whatever the length of the word list."""

LETTERS_A_PIECE = 3
"""On average, below which a word is spelled rather than read: fris-bee is read, fr-is-bee is not."""

MOST_KEPT = 4096
"""Phrases besides the known ones whose rows are kept, those used last: words may change every second, for a month."""

MOST_SPELLED = 10
"""Words that one warning names."""


class SpelledWordWarning(UserWarning):
    """The model has no word of its own for what was typed, and makes one from small pieces: it may mean nothing."""


class BundleTextEncoder:
    """Encode phrases with a bundle's tokenizer and text graph.

    Args:
        bundle: has the tokenizer and the graph; they are loaded when the first unknown phrase comes.
        known: phrases whose unit rows are known already, such as those of the bundle's vocabulary.
        templates: to be used instead of the bundle's own; `known` must then have been made with them, too.

    Raises:
        VocabularyError: a template does not have exactly one place for the word, written {}, or is no UTF-8.
    """

    def __init__(
        self,
        bundle: Bundle,
        known: Mapping[str, npt.NDArray[np.float32]],
        *,
        templates: Sequence[str] | None = None,
    ) -> None:
        self._bundle = bundle
        self._known = dict(known)
        self._kept: dict[str, npt.NDArray[np.float32]] = {}
        self._templates = None if templates is None else tuple(map(_checked_template, templates))

    @cached_property
    def _tower(self) -> "TextTower":
        manifest, read = self._bundle.manifest, self._bundle.read
        if manifest.text_encoder is None or manifest.text is None:
            raise VocabularyError(
                f"{self._bundle.path} was exported without a text encoder, so its words are fixed: "
                "export it again without --no-text-encoder, or with other --classes"
            )
        graph = read(manifest.text_encoder.file)
        text = manifest.text
        if self._templates is not None:
            text = text.model_copy(update={"templates": self._templates})
        return TextTower(read(text.tokenizer), text, graph, manifest.text_encoder)

    def encode(self, phrases: Sequence[str]) -> Embeddings:
        """Encode M phrases as unit rows (M,C) float32; each is the normalised mean over the bundle's templates.

        Raises:
            VocabularyError: the bundle has no text encoder, or see `PhraseTokenizer`.

        Warns:
            SpelledWordWarning: once for every phrase with such a word, as long as its row is kept.
        """
        kept = self._kept  # replaced and never changed: threads may encode at the same time
        used = {phrase: kept[phrase] for phrase in phrases if phrase in kept}
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._known and phrase not in used]
        if new:
            # Copies: a row of an array keeps all of it.
            used.update(zip(new, map(np.copy, self._tower.encode(new)), strict=True))
            others = {phrase: row for phrase, row in kept.items() if phrase not in used}
            self._kept = dict(list({**others, **used}.items())[-MOST_KEPT:])
            if spelled := self._tower.tokenizer.spelled(new):
                warnings.warn(_spelled_message(spelled), SpelledWordWarning, stacklevel=2)
        rows = np.array([used[p] if p in used else self._known[p] for p in phrases], np.float32)
        return rows.reshape(len(phrases), self._bundle.manifest.output.channels)


def _spelled_message(spelled: Mapping[str, str]) -> str:
    named = ", ".join(f"{word!r} ({pieces})" for word, pieces in list(spelled.items())[:MOST_SPELLED])
    more = f" and {len(spelled) - MOST_SPELLED} more" if len(spelled) > MOST_SPELLED else ""
    return f"the model only spells {named}{more}: what it finds may mean nothing; try another English word for it"


def _checked_template(template: str) -> str:
    refuse_unprintable(template)
    if template.count("{}") != 1 or template.count("{") + template.count("}") != 2:
        raise VocabularyError(
            f"template {template!r} given, expected one {{}} where the word goes: 'a photo of a {{}}'"
        )
    return template


class TextTower:
    """Tokenizer and text graph together.

    Args:
        tokenizer: JSON of the `tokenizers` library.
        text: how phrases become tokens.
        graph: ONNX bytes, tokens (N,L) -> text (N,C), not normalised.
        spec: the graph's inputs and outputs.
    """

    def __init__(self, tokenizer: bytes, text: TextSpec, graph: bytes, spec: GraphSpec) -> None:
        length = spec.inputs["tokens"][1]
        self.tokenizer = PhraseTokenizer(tokenizer, text, length if isinstance(length, int) else None)
        self.engine = OnnxRuntimeEngine(graph, spec)
        self._text = text

    def encode(self, phrases: Sequence[str]) -> Embeddings:
        """Encode M phrases as unit rows (M,C) float32.

        Raises:
            VocabularyError: see `PhraseTokenizer`.
        """
        templates = self._text.templates
        prompts = [template.format(phrase) for phrase in phrases for template in templates]
        batches = (prompts[start : start + ROWS_AT_ONCE] for start in range(0, len(prompts), ROWS_AT_ONCE))
        rows = np.concatenate([self.engine.infer({"tokens": self.tokenizer(batch)})["text"] for batch in batches])
        if self._text.averaging == "unit":
            rows = _unit(rows)
        return _unit(rows.reshape(len(phrases), len(templates), -1).mean(axis=1, dtype=np.float32))


def _unit(rows: Embeddings) -> Embeddings:
    unit: Embeddings = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return unit


class PhraseTokenizer:
    """Texts -> int64 tokens (N,L).

    Args:
        tokenizer: JSON of the `tokenizers` library.
        spec: ids and context length.
        row_length: L where it is fixed; None pads to the longest row.
    """

    def __init__(self, tokenizer: bytes, spec: TextSpec, row_length: int | None) -> None:
        from tokenizers import Tokenizer  # only where words are about to change

        try:
            self._tokenizer = Tokenizer.from_str(tokenizer.decode())
        except Exception as error:  # the library raises bare Exception
            raise BundleCorruptError(f"{spec.tokenizer} is not a tokenizer ({error}): export again") from None
        self._tokenizer.no_truncation()  # a phrase that is too long is refused, not cut in silence
        self._tokenizer.enable_padding(pad_id=spec.pad_id, length=row_length)
        self._spec = spec

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokenise N texts.

        Raises:
            VocabularyError: a text has a piece that the model never learnt, whose mask would mean nothing, or has
                more pieces than the model reads.
        """
        encodings = self._tokenizer.encode_batch(list(texts))
        limit = self._spec.context_length
        for text, encoding in zip(texts, encodings, strict=True):
            pieces = [i for i, present in zip(encoding.ids, encoding.attention_mask, strict=True) if present]
            if not pieces or self._spec.unknown_id in pieces:
                unknown = np.array(encoding.ids) == self._spec.unknown_id
                spans = np.array(encoding.offsets)[unknown]
                part = " ".join(text[begin:end] for begin, end in spans)
                within = f" in {text!r}" if part not in ("", text) else ""
                raise VocabularyError(
                    f"the model does not know the word {part or text!r}{within}: it was never in its training texts; "
                    "describe the thing in plain English words",
                    word=part or text,
                )
            if limit is not None and len(pieces) > limit:
                raise VocabularyError(
                    f"{text!r} is {len(pieces)} tokens long, the model reads {limit}: shorten it", word=text
                )
        return np.array([encoding.ids for encoding in encodings], np.int64)

    def spelled(self, phrases: Sequence[str]) -> dict[str, str]:
        """Find words that the tokenizer has no piece for, but very small ones: frisbee -> fr-is-bee.

        An s at the end and anything but letters does not count.
        """
        found = {}
        for phrase, encoding in zip(phrases, self._tokenizer.encode_batch(list(phrases), False), strict=True):
            words: dict[int, list[str]] = {}
            for index, (begin, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
                if index is not None and end > begin:
                    words.setdefault(index, []).append(phrase[begin:end].strip())
            for pieces in words.values():
                stem = pieces[:-1] if pieces[-1].lower() == "s" else pieces
                word = "".join(stem)
                if len(stem) > 1 and word.isalpha() and len(word) < LETTERS_A_PIECE * len(stem):
                    found["".join(pieces)] = "-".join(pieces)
        return found
