"""`tiny`, the model inside the package: EfficientNet-Lite0, a small text tower, a light decoder.

How its weights come about: `tcl_core/align/__main__.py` for both towers, `configs/tiny.yaml` for the grounder.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from tcl_core.encoder import DenseEncoder, Preprocess, TextEncoder, check_multiple
from tcl_core.grounder import Grounder, SimilarityToMask
from tcl_core.model import TCL
from tcl_core.tiny.folding import fold_norms
from tcl_core.tiny.skip_decoder import SkipDecoder, Stages

FORMAT_VERSION = 2
STRIDE = 32
SKIPS = (6, 4)  # stages of the trunk at stride 32 and 16, each the last of its stride
FEATURE_INFO = (4, 3)  # what timm calls them
PAD_ID = 0
UNKNOWN_ID = 1
# exp(-1e4) is exactly 0 in float32, and unlike -inf it leaves no NaN behind a row that is all padding.
MASKED = -1e4


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of both towers, and what the weights were calibrated with: the content of `tiny.json`.

    Attributes:
        preprocess: what the image tower expects.
        vocabulary_size: rows of the token table, [PAD] = 0 and [UNK] = 1 included.
        embed_dim: C.
        decoder_width: of the grounder's `SkipDecoder`; 0 is a grounder without one.
        token_dim: width of the text tower.
        text_blocks: transformer blocks of the text tower.
        lexicon_size: words whose vectors the text tower mixes; 0 is a tower that ends in an MLP instead.
        key_dim: width of the lexicon's keys.
        context_length: L, the longest token row.
        background_words: words that compete as background when the user names only a few things.
        background_threshold: a cell whose best mask is below this is background.
        format_version: of the file.
    """

    preprocess: Preprocess
    vocabulary_size: int
    embed_dim: int = 256
    decoder_width: int = 0
    token_dim: int = 128
    text_blocks: int = 2
    lexicon_size: int = 0
    key_dim: int = 128
    context_length: int = 16
    background_words: tuple[str, ...] = ()
    background_threshold: float = 0.5
    format_version: int = FORMAT_VERSION


class _PaddedConv2d(nn.Conv2d):
    """Convolution of stride 2 with TensorFlow's "same" padding for even sides: one more row below and right."""

    def forward(self, x: Tensor) -> Tensor:
        total = self.kernel_size[0] - 2
        before, after = total // 2, total - total // 2
        return super().forward(F.pad(x, (before, after, before, after)))


def with_static_padding(module: nn.Module) -> nn.Module:
    """Replace timm's Conv2dSame, whose padding is arithmetic on shapes that an exporter would have to trace."""
    from timm.layers.conv2d_same import Conv2dSame

    for name, child in module.named_children():
        if isinstance(child, Conv2dSame):
            kernel_size = child.weight.shape[-1]
            conv = _PaddedConv2d(
                child.in_channels, child.out_channels, kernel_size, stride=2, groups=child.groups, bias=False
            )
            conv.weight = child.weight
            setattr(module, name, conv)
        else:
            with_static_padding(child)
    return module


class TinyImageEncoder(DenseEncoder):
    """EfficientNet-Lite0 without its classifier, and a linear map into the joint space.

    Global average pooling is linear, so the map of an image projected cell by cell has the projected image as its
    mean: what was aligned for whole images holds for cells. BatchNorm is kept (exporters fold it).

    The features are the projected map, and with it the earlier stages that a decoder looks at (`Stages`).

    Args:
        embed_dim: C.
    """

    def __init__(self, embed_dim: int = 256) -> None:
        super().__init__()
        import timm  # brings torchvision along and takes seconds: not for who needs no weights

        trunk: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
        coarse, fine = (int(trunk.feature_info[k]["num_chs"]) for k in FEATURE_INFO)
        self.stages = Stages(embed_dim, coarse, fine)
        self.stride, self.dim, self.embed_dim = STRIDE, self.stages.dim, embed_dim
        self.projection = nn.Conv2d(int(trunk.num_features), embed_dim, kernel_size=1)
        self.trunk: Any = with_static_padding(trunk)

    def features(self, images: Tensor) -> Tensor:
        """Compute the joined map: float (B,3,H,W), normalised, H and W multiples of 32 -> (B,D,H/32,W/32)."""
        check_multiple(images, STRIDE)  # the static padding of the strided layers is right for even sides only
        trunk = self.trunk
        x = trunk.bn1(trunk.conv_stem(images))
        seen = []
        for stage in trunk.blocks:
            x = stage(x)
            seen.append(x)
        coarse, fine = (seen[k] for k in SKIPS)
        last = trunk.bn2(trunk.conv_head(x))  # (B,1280,h,w) in [0, 6]
        return self.stages.join(self.projection(last), coarse, fine)

    def project(self, features: Tensor) -> Tensor:
        """Take the projected map out of the joined one: (B,D,h,w) -> (B,C,h,w), not normalised."""
        return features[:, : self.embed_dim]

    def frozen(self) -> "TinyImageEncoder":
        """Copy it with BatchNorm folded into the convolutions: a third less to compute and to keep for a gradient."""
        copied = deepcopy(self).requires_grad_(False).eval()
        fold_norms(copied.trunk)
        return copied

    def last_layers(self) -> tuple[nn.Module, nn.Module]:
        """Give a grounder without decoder something to train: a 1x1 convolution that begins as `project`."""
        projection = nn.Conv2d(self.dim, self.embed_dim, kernel_size=1)
        nn.init.dirac_(projection.weight)
        nn.init.zeros_(projection.bias)  # type: ignore[arg-type]
        return nn.Identity(), projection

    def embed(self, images: Tensor) -> Tensor:
        """Embed whole images by their mean feature: (B,3,H,W) -> (B,C), not normalised."""
        return self.project(self.features(images).mean(dim=(2, 3), keepdim=True)).flatten(1)


class _TextBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attention_out = nn.Linear(dim, dim)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mix tokens: (N,L,D) and the additive mask (N,L) -> (N,L,D)."""
        qkv = self.query_key_value(self.norm_attention(x)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind()  # each (N,heads,L,D/heads)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + mask[:, None, None]
        attended = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)  # (N,L,D)
        x = x + self.attention_out(attended)
        out: Tensor = x + self.mlp(self.norm_mlp(x))
        return out


def _to_int8(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix (N,D) to int8 rows (N,D), each with a scale of its own (N,)."""
    scales = matrix.abs().amax(dim=1).clamp(min=1e-8) / 127
    return (matrix / scales[:, None]).round().to(torch.int8), scales


class LexiconHead(nn.Module):
    """The mean of the lexicon's vectors, weighted by the softmax of how well a phrase fits each word's key.

    Args:
        config: sizes; `lexicon_size` is M, `key_dim` K, `embed_dim` C, `token_dim` D.
    """

    key_rows: Tensor
    key_scales: Tensor
    value_rows: Tensor
    value_scales: Tensor

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        size = config.lexicon_size
        self.query = nn.Linear(config.token_dim, config.key_dim)
        self.bias = nn.Parameter(torch.zeros(size))
        for name, width in (("key", config.key_dim), ("value", config.embed_dim)):
            self.register_buffer(f"{name}_rows", torch.zeros(size, width, dtype=torch.int8))
            self.register_buffer(f"{name}_scales", torch.ones(size))

    def set_keys(self, keys: Tensor) -> None:
        """Take over float keys (M,K), rounded to int8."""
        for buffer, value in zip((self.key_rows, self.key_scales), _to_int8(keys), strict=True):
            buffer.copy_(value)

    def set_values(self, values: Tensor) -> None:
        """Take over the words' vectors, float (M,C), rounded to int8."""
        for buffer, value in zip((self.value_rows, self.value_scales), _to_int8(values), strict=True):
            buffer.copy_(value)

    def scores(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """Compare phrases (N,D) with the words: float (N,M). `keys`, float (M,K), stand in for the rounded ones."""
        query: Tensor = self.query(x)
        if keys is not None:
            return torch.addmm(self.bias, query, keys.T)
        return query @ self.key_rows.to(x.dtype).T * self.key_scales + self.bias

    def mix(self, scores: Tensor) -> Tensor:
        """Weight the words' vectors by scores (N,M): float (N,C), not normalised."""
        return scores.softmax(dim=-1) * self.value_scales @ self.value_rows.to(scores.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Embed pooled phrases: float (N,D) -> (N,C)."""
        return self.mix(self.scores(x))


class TinyTextEncoder(TextEncoder):
    """A static token table in int8, a few transformer blocks, attention pooling, and a head: lexicon or MLP.

    Args:
        config: sizes.
        tokenizer: WordPiece with [PAD] = 0, [UNK] = 1, no other special tokens, truncating at `context_length`.
    """

    token_rows: Tensor
    token_scales: Tensor

    def __init__(self, config: TinyConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.embed_dim, self.context_length = config.embed_dim, config.context_length
        self.tokenizer = tokenizer
        dim = config.token_dim
        self.register_buffer("token_rows", torch.zeros(config.vocabulary_size, dim, dtype=torch.int8))
        self.register_buffer("token_scales", torch.ones(config.vocabulary_size))
        self.positions = nn.Parameter(torch.zeros(config.context_length, dim))
        self.blocks = nn.ModuleList(_TextBlock(dim, num_heads=4) for _ in range(config.text_blocks))
        self.norm = nn.LayerNorm(dim)
        self.pool = nn.Linear(dim, 1)
        self.head: nn.Module
        if config.lexicon_size:
            self.head = LexiconHead(config)
        else:
            self.head = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, config.embed_dim))

    def tokenize(self, texts: list[str]) -> Tensor:
        """Turn N texts into int64 tokens (N,L), padded with 0 to the longest.

        Raises:
            ValueError: a text is empty or has a word without pieces in the vocabulary (another script, an emoji).
        """
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        bad = [text for text, row in zip(texts, rows, strict=True) if not any(row) or UNKNOWN_ID in row]
        if bad:
            raise ValueError(
                f"tiny reads English words in Latin letters only and cannot read: {', '.join(map(repr, bad))}"
            )
        return torch.tensor(rows, dtype=torch.int64)

    def quantize(self, table: Tensor) -> None:
        """Take over a float table (V,D): a row becomes int8 times its own scale."""
        rows, scales = _to_int8(table)
        self.token_rows.copy_(rows)
        self.token_scales.copy_(scales)

    def pooled(self, rows: Tensor, padding: Tensor) -> Tensor:
        """Read token rows: float (N,L,D), bool (N,L) true at padding -> (N,D), what the head is given."""
        mask = padding.to(rows.dtype) * MASKED
        x = rows + self.positions[: rows.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        weights = (self.pool(x).squeeze(-1) + mask).softmax(dim=1)  # (N,L)
        pooled: Tensor = (weights[..., None] * x).sum(dim=1)
        return pooled

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed int64 tokens (N,L) as float (N,C), not normalised. Padding does not change a row's result."""
        # Gather before the conversion: the graph keeps the table in int8.
        rows = self.token_rows[tokens].to(self.positions.dtype) * self.token_scales[tokens][..., None]
        embeddings: Tensor = self.head(self.pooled(rows, tokens == PAD_ID))
        return embeddings


def build_tiny(config: TinyConfig, tokenizer: Tokenizer) -> TCL:
    """Build the model without weights."""
    image_encoder = TinyImageEncoder(config.embed_dim)
    decoder = SkipDecoder(image_encoder.stages, config.decoder_width) if config.decoder_width else None
    grounder = Grounder(decoder=decoder, similarity_to_mask=SimilarityToMask())
    return TCL(image_encoder, TinyTextEncoder(config, tokenizer), grounder, config.preprocess)
