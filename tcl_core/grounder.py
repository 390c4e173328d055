"""The grounder: features -> embeddings in the joint space -> a soft mask a word (paper, section 3.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tcl_core.encoder import DenseEncoder, normalize


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map: (B,D,h,w) -> (B,D,h,w)."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalise every cell on its own."""
        cells = super().forward(features.permute(0, 2, 3, 1))  # (B,h,w,D)
        return cells.permute(0, 3, 1, 2)


class GatedConvolution(nn.Module):
    """tanh(gate) * conv3x3(GELU(norm(x))): adds nothing until training opens the gate."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(dim)
        self.conv = nn.Conv2d(dim, dim, kernel_size=3, padding=1)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Compute the residual: (B,D,h,w) -> (B,D,h,w)."""
        residual: Tensor = self.conv(F.gelu(self.norm(features)))
        return self.gate.tanh() * residual


class DecoderStage(nn.Module):
    """Nearest upsampling x2, then two gated residual convolutions: (B,D,h,w) -> (B,D,2h,2w)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = GatedConvolution(dim)
        self.second = GatedConvolution(dim)

    def forward(self, features: Tensor) -> Tensor:
        """Upsample and refine."""
        features = F.interpolate(features, scale_factor=2.0, mode="nearest")
        features = features + self.first(features)
        refined: Tensor = features + self.second(features)
        return refined


class GatedDecoder(nn.Sequential):
    """Stages that each double the resolution: (B,D,h,w) -> (B,D,h*2^S,w*2^S).

    At initialisation it is exactly nearest upsampling.
    """

    def __init__(self, dim: int, num_stages: int = 2) -> None:
        super().__init__(*(DecoderStage(dim) for _ in range(num_stages)))


class SimilarityToMask(nn.Module):
    """Turn cosines into soft masks: sigmoid(scale * cosine + bias), both learned.

    The initial values are those of the paper: a cosine of 0.25 is a mask of 0.5.
    """

    def __init__(self, scale: float = 10.0, bias: float = -2.5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.tensor(bias))

    def logits(self, dense_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
        """Compare every cell with every text: (B,C,h,w), (N,C) -> mask logits (B,N,h,w)."""
        return self.scale * similarity(dense_embeddings, text_embeddings) + self.bias

    def forward(self, dense_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
        """Compare every cell with every text: (B,C,h,w), (N,C) -> soft masks (B,N,h,w) in [0, 1]."""
        return torch.sigmoid(self.logits(dense_embeddings, text_embeddings))


def similarity(dense_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
    """Cosine of every cell with every text: (B,C,h,w), (N,C) -> (B,N,h,w) in [-1, 1]."""
    dense = normalize(dense_embeddings, dim=1)
    text = normalize(text_embeddings, dim=1)
    return torch.einsum("bchw,nc->bnhw", dense, text)


def sample_hard_masks(
    mask_logits: Tensor, *, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Sample binary masks by the Gumbel-sigmoid trick: any shape -> the same, values 0 and 1.

    The forward pass is binary; the gradient is that of the noisy soft mask (straight through).
    """
    uniform = torch.rand(mask_logits.shape, generator=generator, device=mask_logits.device, dtype=mask_logits.dtype)
    # A uniform number of exactly 0 would be a noise of -inf.
    logistic_noise = torch.logit(uniform, eps=torch.finfo(uniform.dtype).eps)
    soft = torch.sigmoid((mask_logits + logistic_noise) / temperature)
    hard = (soft > 0.5).to(soft.dtype)
    return hard + (soft - soft.detach())  # the brackets keep 0 and 1 exact


class Grounder(nn.Module):
    """What TCL trains on top of a frozen image encoder.

    Args:
        blocks: trainable copy of the encoder's last block(s), (B,D,h,w) -> (B,D,h,w); none if nothing
            was trained.
        decoder: raises the resolution, (B,D,h,w) -> (B,D,h*k,w*k); none keeps the grid.
        projection: into the joint space, cell by cell, (B,D,h,w) -> (B,C,h,w); None means the encoder's own
            `project`.
        similarity_to_mask: learned scale and bias; the paper's initial ones by default.
    """

    def __init__(
        self,
        blocks: nn.Module | None = None,
        decoder: nn.Module | None = None,
        projection: nn.Module | None = None,
        similarity_to_mask: SimilarityToMask | None = None,
    ) -> None:
        super().__init__()
        self.blocks = blocks or nn.Identity()
        self.decoder = decoder or nn.Identity()
        self.projection = projection
        self.similarity_to_mask = similarity_to_mask or SimilarityToMask()

    def forward(self, features: Tensor) -> Tensor:
        """Refine the encoder's features up to, not including, the projection: (B,D,h,w) -> (B,D,h*k,w*k)."""
        refined: Tensor = self.decoder(self.blocks(features))
        return refined


def grounder_for(encoder: DenseEncoder, num_stages: int = 2) -> Grounder:
    """Make an untrained grounder: the encoder's last layers copied, every gate of the decoder closed.

    Its soft masks are sigmoid(10 cosine - 2.5) of the encoder's own embeddings, upsampled by 2^num_stages.
    """
    blocks, projection = encoder.last_layers()
    return Grounder(blocks, GatedDecoder(encoder.dim, num_stages), projection)
