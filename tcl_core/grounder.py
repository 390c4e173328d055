"""The grounder: features -> embeddings in the joint space -> a soft mask for every word (paper section 3.2)."""

import torch
from torch import Tensor, nn

from tcl_core.encoder import normalize


class SimilarityToMask(nn.Module):
    """Turn cosines into soft masks: sigmoid(scale * cosine + bias), both learned.

    The initial values are those of the paper: a cosine of 0.25 is a mask of 0.5.
    """

    def __init__(self, scale: float = 10.0, bias: float = -2.5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, dense_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
        """Compare every cell with every text: (B,C,h,w), (N,C) -> soft masks (B,N,h,w) in [0, 1]."""
        dense = normalize(dense_embeddings, dim=1)
        text = normalize(text_embeddings, dim=1)
        cosine = torch.einsum("bchw,nc->bnhw", dense, text)
        return torch.sigmoid(self.scale * cosine + self.bias)
