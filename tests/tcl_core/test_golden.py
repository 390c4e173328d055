"""TCL against the recorded reference implementation (kakaobrain/tcl, random weights, float32)."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from tcl_core import TCL
from tcl_core.grounder import similarity
from tcl_core.towers.attention import cellwise

SIZES = ("64x64", "90x119")


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@torch.inference_mode()
def test_frozen_encoders(golden: Mapping[str, Tensor], golden_model: TCL) -> None:
    """Oracle: text, last block's value path, MaskCLIP embeddings, class token of the reference; 2e-6 of values to 4."""
    encoder = golden_model.image_encoder
    features = encoder.features(golden["train_image"])
    value_path = cellwise(encoder.final_block.value_path, features)
    assert_near(golden_model.encode_text(golden["tokens"]), golden["text_emb"], 2e-6)
    assert_near(value_path, golden["clip_spatial_feat"], 2e-6)
    assert_near(encoder.project(features), golden["maskclip_dense_emb"], 2e-6)
    assert_near(encoder.embed(golden["train_image"]), golden["clip_global_emb"], 2e-6)


@torch.inference_mode()
def test_grounding(golden: Mapping[str, Tensor], golden_model: TCL) -> None:
    """Oracle: dense embeddings, soft and hard masks of the reference; 1e-5."""
    grounding = golden_model(golden["train_image"], golden["tokens"])
    assert_near(grounding.dense_embeddings, golden["grounder_dense_emb"], 1e-5)
    assert_near(grounding.soft_masks, golden["soft_masks"], 1e-5)
    positive = grounding.soft_masks.diagonal().permute(2, 0, 1)[:, None]
    assert torch.equal((positive > 0.5).float(), golden["hard_pos_masks"])


@torch.inference_mode()
def test_pooled_embeddings(golden: Mapping[str, Tensor], golden_model: TCL) -> None:
    """Oracle: the reference's mean of embeddings under every mask; 1e-5."""
    grounding = golden_model(golden["train_image"], golden["tokens"])
    masks, dense = grounding.soft_masks, grounding.dense_embeddings
    pooled = torch.einsum("bchw,bnhw->bnc", dense, masks) / (masks.sum(dim=(2, 3))[..., None] + 1e-6)
    assert_near(pooled, golden["masked_pool"], 1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pamr", [False, True])
@pytest.mark.parametrize("kp_weight", [0.0, 0.3])
@torch.inference_mode()
def test_inference(golden: Mapping[str, Tensor], golden_model: TCL, size: str, pamr: bool, kp_weight: float) -> None:
    """Oracle: masks of the reference's whole inference, padded (90x119) or not; 1e-5."""
    masks = golden_model.segment(golden[f"seg_image_{size}"], golden["text_emb"], pamr=pamr, kp_weight=kp_weight)
    assert_near(masks, golden[f"seg_masks_{size}_pamr{int(pamr)}_kp{kp_weight}"], 1e-5)


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_similarity_maps(golden: Mapping[str, Tensor], golden_model: TCL, size: str) -> None:
    """Oracle: cosines of the reference on the padded image; 1e-5."""
    from tcl_core.segment import pad_to_multiple

    images, _ = pad_to_multiple(golden[f"seg_image_{size}"], 16)
    cosines = similarity(golden_model.dense_embeddings(images), golden["text_emb"])
    assert_near(cosines, golden[f"seg_simmap_{size}"], 1e-5)


@torch.inference_mode()
def test_masks_are_segment_without_the_resize(golden: Mapping[str, Tensor], golden_model: TCL) -> None:
    """Oracle: `segment` itself, its masks made by torch's bilinear resize; exact."""
    images, text = golden["seg_image_64x64"], golden["text_emb"]
    masks = golden_model.masks(images, text)
    assert masks.shape == (2, 4, 16, 16)
    resized = torch.nn.functional.interpolate(masks, size=(64, 64), mode="bilinear", align_corners=False)
    assert torch.equal(resized, golden_model.segment(images, text))


@torch.inference_mode()
def test_batch_does_not_matter(golden: Mapping[str, Tensor], golden_model: TCL) -> None:
    """Oracle: one image and one word at a time; 1e-6."""
    images, text = golden["seg_image_90x119"], golden["text_emb"]
    together = golden_model.segment(images, text, pamr=True, kp_weight=0.3)
    apart = golden_model.segment(images[1:], text[2:3], pamr=True, kp_weight=0.3)
    assert_near(together[1:, 2:3], apart, 1e-6)
