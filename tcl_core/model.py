"""TCL: an image encoder, a text encoder and the grounder between them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from tcl_core.encoder import DenseEncoder, Preprocess, TextEncoder
from tcl_core.grounder import Grounder, sample_hard_masks
from tcl_core.pamr import refine
from tcl_core.segment import blend, crop, known_prior, pad_to_multiple, resize


@dataclass(frozen=True, eq=False)
class Grounding:
    """What the losses look at: every image against every text.

    Attributes:
        dense_embeddings: (B,C,h,w), not normalised.
        text_embeddings: (N,C), not normalised.
        mask_logits: (B,N,h,w); a soft mask is their sigmoid.
    """

    dense_embeddings: Tensor
    text_embeddings: Tensor
    mask_logits: Tensor

    @property
    def soft_masks(self) -> Tensor:
        """(B,N,h,w) in [0, 1]."""
        return self.mask_logits.sigmoid()

    def hard_masks(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample (B,N,h,w) binary masks with a straight-through gradient."""
        return sample_hard_masks(self.mask_logits, generator=generator)


class TCL(nn.Module):
    """Segment an image by words: image encoder -> grounder -> one soft mask a word.

    Args:
        image_encoder: keeps the map (stride, D, C).
        text_encoder: tokens -> C.
        grounder: features -> masks; `Grounder()` adds nothing to the encoder, for training-free use.
        preprocess: what the image encoder expects of its input.
    """

    def __init__(
        self,
        image_encoder: DenseEncoder,
        text_encoder: TextEncoder,
        grounder: Grounder,
        preprocess: Preprocess,
    ) -> None:
        super().__init__()
        if image_encoder.embed_dim != text_encoder.embed_dim:
            raise ValueError(
                f"the image encoder embeds in {image_encoder.embed_dim} dimensions and the text encoder in "
                f"{text_encoder.embed_dim}: take both from the same model"
            )
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.grounder = grounder
        self.preprocess = preprocess

    def dense_embeddings(self, images: Tensor) -> Tensor:
        """Embed every cell of normalised images: (B,3,H,W) -> (B,C,h,w), not normalised."""
        return self.ground(self.image_encoder.features(images))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed int64 tokens (N,L) -> (N,C), not normalised."""
        embeddings: Tensor = self.text_encoder(tokens)
        return embeddings

    def masks(
        self,
        images: Tensor,
        text_embeddings: Tensor,
        *,
        kp_weight: float = 0.0,
        refine: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Segment at the resolution of the masks: encode, ground, blend the known prior in.

        The one forward path: the reference inference, the exported graph and the evaluation all come through here.

        Args:
            images: (B,3,H,W) float, normalised; H and W multiples of `preprocess.multiple_of`. Nothing is padded.
            text_embeddings: (N,C) float, of any length.
            kp_weight: in [0, 1], share of the frozen encoder's own masks ("known prior"), 0.3 in the paper.
            refine: applied to the masks (B,N,h,w) before the prior is blended in, the order of the reference
                implementation. Deployed graphs leave it out: there the masks are refined afterwards.

        Returns:
            Soft masks (B,N,h,w) in [0, 1].
        """
        features = self.image_encoder.features(images)
        masks: Tensor = self.grounder.similarity_to_mask(self.ground(features), text_embeddings)
        if refine is not None:
            masks = refine(masks)
        if kp_weight == 0:
            return masks
        prior = known_prior(self.image_encoder.project(features), text_embeddings)
        return blend(masks, prior, kp_weight)

    def segment(self, images: Tensor, text_embeddings: Tensor, *, pamr: bool = False, kp_weight: float = 0.0) -> Tensor:
        """Segment normalised images of any size, as the reference implementation does.

        Args:
            images: (B,3,H,W) float, normalised.
            text_embeddings: (N,C) float, of any length.
            pamr: align the masks with the colours of the image.
            kp_weight: in [0, 1], share of the frozen encoder's own masks ("known prior"), 0.3 in the paper.

        Returns:
            Soft masks (B,N,H,W) in [0, 1].

        Raises:
            ValueError: no pixels, no words, embeddings of another size, or a weight outside [0, 1].
        """
        self._check(images, text_embeddings, kp_weight)
        padded, padding = pad_to_multiple(images, self.preprocess.multiple_of)
        aligned = partial(refine, padded) if pamr else None
        masks = self.masks(padded, text_embeddings, kp_weight=kp_weight, refine=aligned)
        return crop(resize(masks, padded.shape[-2:]), padding)

    def forward(self, images: Tensor, tokens: Tensor) -> Grounding:
        """Ground every text in every image: normalised (B,3,H,W), int64 (N,L) -> Grounding."""
        dense, text = self.dense_embeddings(images), self.encode_text(tokens)
        return Grounding(dense, text, self.grounder.similarity_to_mask.logits(dense, text))

    def ground(self, features: Tensor) -> Tensor:
        """Refine and project what `image_encoder.features` gives: -> (B,C,h,w), not normalised."""
        refined = self.grounder(features)
        if self.grounder.projection is None:
            return self.image_encoder.project(refined)
        embeddings: Tensor = self.grounder.projection(refined)
        return embeddings

    def _check(self, images: Tensor, text_embeddings: Tensor, kp_weight: float) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or images.numel() == 0:
            raise ValueError(f"images of shape {tuple(images.shape)}: expected (B,3,H,W) with at least one pixel")
        dim = self.image_encoder.embed_dim
        if text_embeddings.ndim != 2 or text_embeddings.shape[1] != dim or not len(text_embeddings):
            raise ValueError(
                f"text embeddings of shape {tuple(text_embeddings.shape)}: expected (N,{dim}), one word at "
                "least, from the text encoder of this model"
            )
        if not 0 <= kp_weight <= 1:
            raise ValueError(f"kp_weight is {kp_weight}: expected a share between 0 and 1")
