"""TCL: an image encoder, a text encoder and the grounder between them."""

from torch import Tensor, nn

from tcl_core.encoder import DenseEncoder, Preprocess, TextEncoder
from tcl_core.grounder import SimilarityToMask


class TCL(nn.Module):
    """Segment an image by words: image encoder -> grounder -> one soft mask a word.

    Args:
        image_encoder: keeps the map (stride, D, C).
        text_encoder: tokens -> C.
        similarity_to_mask: learned scale and bias.
        preprocess: what the image encoder expects of its input.
    """

    def __init__(
        self,
        image_encoder: DenseEncoder,
        text_encoder: TextEncoder,
        similarity_to_mask: SimilarityToMask,
        preprocess: Preprocess,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.similarity_to_mask = similarity_to_mask
        self.preprocess = preprocess

    def dense_embeddings(self, images: Tensor) -> Tensor:
        """Embed every cell of normalised images: (B,3,H,W) -> (B,C,h,w), not normalised."""
        return self.image_encoder.project(self.image_encoder.features(images))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed int64 tokens (N,L) -> (N,C), not normalised."""
        embeddings: Tensor = self.text_encoder(tokens)
        return embeddings

    def segment(self, images: Tensor, text_embeddings: Tensor) -> Tensor:
        """Segment normalised images: (B,3,H,W), (N,C) -> soft masks (B,N,h,w) in [0, 1]."""
        masks: Tensor = self.similarity_to_mask(self.dense_embeddings(images), text_embeddings)
        return masks
