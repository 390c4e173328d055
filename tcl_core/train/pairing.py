"""Which texts belong to which images of a batch, and which say nearly the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tcl_core.encoder import normalize


@dataclass(frozen=True, eq=False)
class Pairing:
    """Which of N different texts belong to which of B images.

    Attributes:
        own: int64 (B,P), numbers of an image's own texts; rows are padded with -1.
        chosen: int64 (B,), one of each image's own texts, for the contrast that looks at one mask an image.
        near: bool (N,N), texts that say nearly the same, so that they are no negatives of each other; true on the
            diagonal.
    """

    own: Tensor
    chosen: Tensor
    near: Tensor

    @property
    def is_own(self) -> Tensor:
        """(B,P) bool, false where `own` is padding."""
        return self.own >= 0

    def positives(self) -> Tensor:
        """(B,N) bool: the image's own texts."""
        table = torch.zeros(len(self.own), len(self.near) + 1, dtype=torch.bool, device=self.own.device)
        # Padding goes into a column of its own, which is dropped.
        column = torch.where(self.is_own, self.own, len(self.near))
        return table.scatter_(1, column, True)[:, :-1]

    def negatives(self) -> Tensor:
        """(B,N) bool: texts that are far from all of the image's own."""
        near_own = self.near[self.own.clamp(min=0)] & self.is_own[..., None]  # (B,P,N)
        return ~near_own.any(dim=1)

    def chosen_alone(self) -> "Pairing":
        """Give every image its chosen text only, so that its other texts become negatives."""
        return Pairing(self.chosen[:, None], self.chosen, self.near)

    def part(self, start: int, stop: int) -> "Pairing":
        """Take some of the images; all texts remain."""
        return Pairing(self.own[start:stop], self.chosen[start:stop], self.near)


def pair(captions: Sequence[Sequence[str]], seed: int) -> tuple[list[str], Tensor, Tensor]:
    """Number the different phrases of a batch.

    Args:
        captions: the phrases of every image.
        seed: chooses one phrase an image.

    Returns:
        N texts, int64 (B,P) numbers of own texts padded with -1, int64 (B,) one of them.
    """
    number = {phrase: k for k, phrase in enumerate(dict.fromkeys(p for phrases in captions for p in phrases))}
    most = max(map(len, captions))
    own = torch.tensor([[*(number[p] for p in phrases), *[-1] * (most - len(phrases))] for phrases in captions])
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor([len(phrases) for phrases in captions])
    which = (torch.rand(len(captions), generator=generator) * counts).long()
    return list(number), own, own.gather(1, which[:, None])[:, 0]


def near_texts(text_embeddings: Tensor, limit: float) -> Tensor:
    """Compare texts (N,C): (N,N) bool, true where the cosine is above the limit, and on the diagonal."""
    unit = normalize(text_embeddings, dim=1)
    return (unit @ unit.T > limit) | torch.eye(len(unit), dtype=torch.bool, device=unit.device)


__all__ = ["Pairing", "near_texts", "pair"]
