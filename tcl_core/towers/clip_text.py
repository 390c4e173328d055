"""Text towers of open_clip models."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from tcl_core.encoder import TextEncoder
from tcl_core.towers.attention import block_from_open_clip

# Added to attention logits of what must not be seen. Not -inf: it survives half precision, and exp of it is 0.
HIDDEN = -1e4


class TruncatedTextWarning(UserWarning):
    """A text is longer than the model reads; its end was left out."""


class ClipTextEncoder(TextEncoder):
    """The transformer that reads texts in CLIP, OpenCLIP, SigLIP and MobileCLIP.

    Args:
        tower: open_clip `TextTransformer`, or a `CLIP` model, which holds the same parts itself.
        tokenizer: open_clip's tokenizer of the model.

    Raises:
        ValueError: a tower with parts that are not known here.
    """

    tokenizer: Any

    def __init__(self, tower: Any, tokenizer: Any) -> None:
        super().__init__()
        if getattr(tower, "cls_emb", None) is not None or getattr(tower, "use_pad_mask", False):
            raise ValueError("a text tower with a class token or padding mask (CoCa): expected a CLIP or SigLIP model")
        self.token_embedding: nn.Embedding = tower.token_embedding
        self.positional_embedding = tower.positional_embedding
        self.blocks = nn.ModuleList(block_from_open_clip(block) for block in tower.transformer.resblocks)
        self.norm = tower.ln_final
        self.projection = linear_from(tower.text_projection)
        self.pool: str = getattr(tower, "pool_type", None) or tower.text_pool_type
        self.end_token: int = tower.eos_id if hasattr(tower, "eos_id") else tower.text_eos_id
        self.is_causal = tower.attn_mask is not None
        self.context_length: int = self.positional_embedding.shape[0]
        last: Any = self.projection
        self.embed_dim = last.out_features if isinstance(last, nn.Linear) else self.token_embedding.embedding_dim
        self.tokenizer = tokenizer

    def tokenize(self, texts: list[str]) -> Tensor:
        """Turn N texts into int64 tokens (N,L).

        Warns:
            TruncatedTextWarning: a text is longer than L tokens; the lost part is quoted.

        Raises:
            ValueError: no texts, or the tokenizer's vocabulary is not the model's.
        """
        return tokenize(self.tokenizer, texts, self.context_length, self.token_embedding.num_embeddings)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed int64 tokens (N,L) as float (N,C), not normalised."""
        length = tokens.shape[1]
        embedded = self.token_embedding(tokens) + self.positional_embedding[:length]
        bias = self._causal_bias(length, embedded) if self.is_causal else None
        for block in self.blocks:
            embedded = block(embedded, bias)
        embeddings: Tensor = self.projection(self._pool(self.norm(embedded), tokens))
        return embeddings

    def _causal_bias(self, length: int, like: Tensor) -> Tensor:
        return torch.full((length, length), HIDDEN, dtype=like.dtype, device=like.device).triu(1)

    def _pool(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        if self.pool == "first":
            return embedded[:, 0]
        if self.pool == "last":
            return embedded[:, -1]
        # CLIP's end token has the highest number of its vocabulary; other tokenizers name theirs.
        is_end = tokens if self.pool == "argmax" else (tokens == self.end_token).int()
        end = is_end.argmax(dim=1)[:, None, None].expand(-1, 1, embedded.shape[2])
        return embedded.gather(1, end)[:, 0]


class ForeignTextEncoder(TextEncoder):
    """Any other text tower (Hugging Face models), called as it is.

    Args:
        model: open_clip model with `encode_text`.
        tokenizer: open_clip's tokenizer of the model.
        embed_dim: C.
    """

    tokenizer: Any

    def __init__(self, model: Any, tokenizer: Any, embed_dim: int) -> None:
        super().__init__()
        self.tower = model.text
        self.tokenizer = tokenizer
        self.embed_dim = embed_dim
        self.context_length = int(model.context_length)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Turn N texts into int64 tokens (N,L); see `ClipTextEncoder.tokenize`."""
        return tokenize(self.tokenizer, texts, self.context_length or 77, None)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed int64 tokens (N,L) as float (N,C), not normalised."""
        embeddings: Tensor = self.tower(tokens)
        return embeddings


def linear_from(projection: Any) -> nn.Module:
    """Make a module of what open_clip multiplies with: a matrix (D,C), a Linear, or nothing."""
    if projection is None:
        return nn.Identity()
    if isinstance(projection, nn.Module):
        return projection
    linear = nn.Linear(projection.shape[0], projection.shape[1], bias=False, device="meta")
    linear.weight = nn.Parameter(projection.detach().T.contiguous())
    return linear


def tokenize(tokenizer: Any, texts: list[str], context_length: int, vocabulary_size: int | None) -> Tensor:
    """Tokenize and warn about what is cut off; see `ClipTextEncoder.tokenize`."""
    if not texts:
        raise ValueError("no words were given: expected at least one")
    for text in texts:
        if lost := lost_part(tokenizer, text, context_length):
            warnings.warn(
                f"only {context_length} tokens of a text are read; this was left out: {lost!r}",
                TruncatedTextWarning,
                stacklevel=3,
            )
    tokens: Tensor = tokenizer(texts, context_length=context_length)
    if vocabulary_size is not None and int(tokens.max()) >= vocabulary_size:
        raise ValueError(
            f"this model knows {vocabulary_size} tokens and its tokenizer made number {int(tokens.max())}: the weights "
            "were trained with another tokenizer; give token numbers to encode_text instead of words"
        )
    return tokens


def lost_part(tokenizer: Any, text: str, context_length: int) -> str:
    """Say which end of a text the tokenizer cuts off; empty if none."""
    if hasattr(tokenizer, "encode") and hasattr(tokenizer, "sot_token_id"):  # CLIP's own
        return str(tokenizer.decode(tokenizer.encode(text)[context_length - 2 :])).strip()
    fast = tokenizer.tokenizer  # Hugging Face
    numbers = fast(text)["input_ids"]
    if len(numbers) <= context_length:
        return ""
    return str(fast.decode(numbers[context_length - 1 :], skip_special_tokens=True)).strip()
