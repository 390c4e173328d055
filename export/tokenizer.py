"""open_clip's tokenizers as one JSON file of the `tokenizers` library, so that words change without Python packages.

open_clip cleans a text in Python (ftfy, HTML entities, lower case) before it looks for pieces. The same cleaning is
written into the file, with one exception: ftfy's repair of text that was decoded with the wrong code page.
"""

import re
import string
from dataclasses import dataclass
from typing import Any

import ftfy
import ftfy.chardata
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from export.errors import TokenizerError

CLIP_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
ENTITIES = {"lt": "<", "gt": ">", "quot": '"', "apos": "'", "#39": "'", "nbsp": " ", "amp": "&"}
"""Replaced twice, as open_clip does; `amp` is last, so that the second round finds what the first uncovered."""


@dataclass(frozen=True)
class TokenizerFile:
    """A tokenizer of the `tokenizers` library and what is not in its file.

    Attributes:
        json: the file.
        pad_id: fills short rows.
        unknown_id: stands for pieces outside the vocabulary; None for a byte-level tokenizer, which has none.
    """

    json: bytes
    pad_id: int
    unknown_id: int | None


def tokenizer_file(tokenizer: Any) -> TokenizerFile:
    """Write an open_clip tokenizer (CLIP's own, or a wrapped Hugging Face one) as a file.

    Raises:
        TokenizerError: it works in a way that the file cannot say.
    """
    if hasattr(tokenizer, "bpe_ranks"):
        return _clip_file(tokenizer)
    return _hugging_face_file(tokenizer)


def _clip_file(tokenizer: Any) -> TokenizerFile:
    if tokenizer.reduction_fn is not None:
        raise TokenizerError("a tokenizer that drops words at random (reduction_mask): take the model without it")
    model = models.BPE(
        vocab=dict(tokenizer.encoder),
        merges=list(tokenizer.bpe_ranks),
        continuing_subword_prefix="",
        end_of_word_suffix="</w>",
    )
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence(cleaning(_clean_rule(tokenizer)))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = "<start_of_text>", "<end_of_text>"
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, tokenizer.sot_token_id), (end, tokenizer.eot_token_id)],
    )
    return TokenizerFile(made.to_str().encode(), pad_id=0, unknown_id=None)


def _hugging_face_file(tokenizer: Any) -> TokenizerFile:
    inner = getattr(tokenizer, "tokenizer", None)
    backend = getattr(inner, "backend_tokenizer", None)
    if inner is None or backend is None:
        raise TokenizerError(
            f"a tokenizer {type(tokenizer).__name__} without a tokenizer.json: expected CLIP's own or a fast tokenizer"
        )
    if tokenizer.tokenizer_mode or tokenizer.strip_sep_token:
        raise TokenizerError("a tokenizer that rearranges its special tokens (CLIPS, CLIPA) is not supported")
    if inner.pad_token_id is None:
        raise TokenizerError("the tokenizer names no padding token: add tokenizer_config.json beside tokenizer.json")
    made = Tokenizer.from_str(backend.to_str())
    made.no_padding()
    made.no_truncation()
    own = [made.normalizer] if made.normalizer is not None else []
    made.normalizer = normalizers.Sequence([*cleaning(_clean_rule(tokenizer)), *own])
    return TokenizerFile(made.to_str().encode(), int(inner.pad_token_id), inner.unk_token_id)


def _clean_rule(tokenizer: Any) -> str:
    name = str(getattr(tokenizer.clean_fn, "__name__", ""))
    rule = name.removeprefix("_clean_")
    if rule not in ("lower", "whitespace", "canonicalize"):
        raise TokenizerError(f"a tokenizer that cleans its texts by {name!r}: expected lower, whitespace, canonicalize")
    return rule


def cleaning(rule: str) -> list[Any]:
    """List the normalizers that clean a text as open_clip does.

    Args:
        rule: `lower`, `whitespace`, or `canonicalize`, which also removes punctuation.
    """
    steps = _basic_cleaning()
    if rule == "canonicalize":
        steps += [normalizers.Replace("_", " "), normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), "")]
    if rule != "whitespace":
        # Lower case goes letter by letter and would miss that a sigma at the end of a word has a form of its own.
        steps += [normalizers.Replace(Regex(r"(?<=\p{L})Σ(?!\p{L})"), "ς"), normalizers.Lowercase()]
    return [*steps, normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]


def _basic_cleaning() -> list[Any]:
    """List the cleaning by ftfy of well-decoded text, then HTML entities."""
    windows = {code: bytes([code]).decode("sloppy-windows-1252") for code in range(0x80, 0xA0)}
    characters: dict[int, str] = {**windows, **ftfy.chardata.LIGATURES, **ftfy.chardata.WIDTH_MAP}
    control = "".join(f"\\x{{{code:x}}}" for code in sorted(ftfy.chardata.CONTROL_CHARS))
    entities = [normalizers.Replace(f"&{name};", character) for name, character in ENTITIES.items()]
    return [
        *entities,
        normalizers.Replace(Regex(r"\x1b\[[\d;]*[a-zA-Z]"), ""),  # colours of a terminal
        *(normalizers.Replace(chr(code), other) for code, other in characters.items() if chr(code) != other),
        normalizers.Replace(Regex(ftfy.chardata.SINGLE_QUOTE_RE.pattern), "'"),
        normalizers.Replace(Regex(ftfy.chardata.DOUBLE_QUOTE_RE.pattern), '"'),
        normalizers.Replace(Regex(f"[{control}]"), ""),
        normalizers.NFC(),
        *entities,
    ]


__all__ = ["TokenizerFile", "cleaning", "tokenizer_file"]
