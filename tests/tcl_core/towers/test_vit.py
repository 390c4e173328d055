"""Vision transformers against the libraries they come from, with random weights."""

from types import SimpleNamespace
from typing import Any

import open_clip
import pytest
import torch
from open_clip.timm_model import TimmModel
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn

from tcl_core import TCL
from tcl_core.grounder import grounder_for
from tcl_core.towers.clip_text import ClipTextEncoder
from tcl_core.towers.open_clip import ClipModel, image_encoder_from, preprocess_of, text_encoder_from
from tcl_core.towers.vit import LatentReadout, MeanReadout, ViTEncoder

TEXT = {"context_length": 12, "vocab_size": 100, "width": 64, "heads": 2, "layers": 2}
VISION = {"layers": 3, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 64}


def described(model: Any, quick_gelu: bool = False) -> ClipModel:
    return ClipModel("small", model.eval(), None, (0.5,) * 3, (0.5,) * 3, quick_gelu)


def small_clip(quick_gelu: bool = False, text: dict[str, Any] | None = None, **vision: Any) -> ClipModel:
    torch.manual_seed(0)
    model = open_clip.CLIP(32, {**VISION, **vision}, {**TEXT, **(text or {})}, quick_gelu=quick_gelu)
    nn.init.normal_(model.positional_embedding)  # left empty by open_clip's constructor for some towers
    return described(model, quick_gelu)


def siglip_tower(**settings: Any) -> ClipModel:
    torch.manual_seed(0)
    tower = TimmModel.__new__(TimmModel)
    nn.Module.__init__(tower)
    sizes = {"img_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 3, "num_heads": 2}
    tower.trunk = TimmViT(**{**sizes, "num_classes": 0, "class_token": False, "global_pool": "map", **settings})
    for parameter in tower.trunk.parameters():  # timm starts biases and the query at zero
        nn.init.normal_(parameter, std=0.3)
    tower.head = nn.Sequential()
    tower.image_size = (64, 64)
    return described(SimpleNamespace(visual=tower, eval=lambda: SimpleNamespace(visual=tower.eval())))


TOWERS = {
    "clip with GELU": small_clip,
    "clip with QuickGELU": lambda: small_clip(quick_gelu=True),
    "layer scale": lambda: small_clip(ls_init_value=0.1),
    "mean before norm": lambda: small_clip(no_ln_pre=True, pool_type="avg", final_ln_after_pool=True),
    "mean after norm": lambda: small_clip(pool_type="avg"),
    "siglip": siglip_tower,
    "siglip with query norm": lambda: siglip_tower(qk_norm=True),
    "timm class token": lambda: siglip_tower(class_token=True, global_pool="token", num_classes=32),
    "timm mean": lambda: siglip_tower(global_pool="avg", num_classes=32, fc_norm=True),
}


def images(side: int = 64, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", sorted(TOWERS))
@torch.inference_mode()
def test_global_embedding(name: str) -> None:
    """Oracle: the library's own forward; 2e-5 of values to 10."""
    clip = TOWERS[name]()
    encoder = image_encoder_from(clip)
    embedded = encoder.embed(images())
    assert embedded.shape == (2, encoder.embed_dim)
    torch.testing.assert_close(embedded, clip.model.visual(images()), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", sorted(TOWERS))
@torch.inference_mode()
def test_value_path_is_attention_to_oneself(name: str) -> None:
    """Oracle: the library's last block on every token alone, then its own pooling of that one token; 2e-5.

    A token alone can only attend to itself, so no mask is needed to say so.
    """
    clip = TOWERS[name]()
    encoder = image_encoder_from(clip)
    assert isinstance(encoder, ViTEncoder)
    features = encoder.features(images())
    alone = features.permute(0, 2, 3, 1).reshape(-1, 1, encoder.dim)
    tower = clip.model.visual
    if isinstance(tower, TimmModel):
        after = tower.trunk.norm(tower.trunk.blocks[-1](alone))
        pooled = tower.trunk.attn_pool(after) if tower.trunk.attn_pool is not None else after[:, 0]
        expected = tower.head(tower.trunk.head(tower.trunk.fc_norm(pooled)))
    else:
        expected = tower.ln_post(tower.transformer.resblocks[-1](alone))[:, 0] @ tower.proj
    dense = encoder.project(features).permute(0, 2, 3, 1).reshape(-1, encoder.embed_dim)
    torch.testing.assert_close(dense, expected, rtol=1e-5, atol=2e-5)


@torch.inference_mode()
def test_value_path_is_the_diagonal_mask() -> None:
    """Oracle: open_clip's last block under a mask of -inf off the diagonal, as the reference does it; 1e-6."""
    clip = small_clip(quick_gelu=True)
    encoder = image_encoder_from(clip)
    assert isinstance(encoder, ViTEncoder)
    tokens, _ = encoder._before_late_blocks(images())
    mask = torch.full((17, 17), float("-inf")).fill_diagonal_(0)
    expected = clip.model.visual.transformer.resblocks[-1](tokens, attn_mask=mask)
    torch.testing.assert_close(encoder.final_block.value_path(tokens), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["mean after norm", "timm mean"])
@torch.inference_mode()
def test_mean_of_cells_is_the_image_for_linear_pools(name: str) -> None:
    """Oracle: pooling is linear once the norm is inside the mean: cells read alone average to the image; 1e-5."""
    encoder = image_encoder_from(TOWERS[name]())
    assert isinstance(encoder, ViTEncoder)
    assert isinstance(encoder.readout, MeanReadout)
    encoder.readout.norm_after = nn.Identity()
    tokens = torch.randn(2, 17, encoder.dim)
    cells = encoder.readout.cells(tokens[:, encoder.readout.num_prefix :]).mean(dim=1)
    torch.testing.assert_close(encoder.readout(tokens), cells, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_positions_at_another_size() -> None:
    """Oracle: torch's bicubic resize of the grid, class token kept, written out on open_clip's modules; 1e-6."""
    clip = small_clip()
    encoder, tower = image_encoder_from(clip), clip.model.visual
    assert isinstance(encoder, ViTEncoder)
    picture = torch.randn(1, 3, 96, 48, generator=torch.Generator().manual_seed(2))
    grid = tower.positional_embedding[1:].reshape(1, 4, 4, 64).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, size=(6, 3), mode="bicubic", align_corners=False)
    patches = (tower.conv1(picture) + grid).flatten(2).transpose(1, 2)
    first = (tower.class_embedding + tower.positional_embedding[0]).expand(1, 1, -1)
    tokens, found = encoder.stem(picture)
    assert found == (6, 3)
    torch.testing.assert_close(tokens, tower.ln_pre(torch.cat([first, patches], dim=1)), rtol=0, atol=1e-6)
    assert encoder.features(picture).shape == (1, 64, 6, 3)


@pytest.mark.parametrize("size", [(65, 64), (0, 64), (64, 1)])
def test_sizes_that_would_lose_pixels(size: tuple[int, int]) -> None:
    encoder = image_encoder_from(small_clip())
    with pytest.raises(ValueError, match=f"image of {size[0]} x {size[1]} pixels: expected multiples of 16"):
        encoder.features(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("causal", {}),
        ("siglip", {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}),
        ("first", {"pool_type": "first"}),
        ("other tokenizer", {"pool_type": "eos", "eos_id": 3}),
    ],
)
@torch.inference_mode()
def test_text_tower(name: str, settings: dict[str, Any]) -> None:
    """Oracle: open_clip's encode_text, padded; 1e-5. Ours hides by -1e4, theirs by -inf."""
    clip = small_clip(text=settings)
    tokens = torch.randint(4, 99, (3, 12), generator=torch.Generator().manual_seed(3))
    for row, length in enumerate((12, 5, 3)):
        tokens[row, length - 1], tokens[row, length:] = (3 if name == "other tokenizer" else 99), 0
    encoder = text_encoder_from(clip)
    assert isinstance(encoder, ClipTextEncoder)
    torch.testing.assert_close(encoder(tokens), clip.model.encode_text(tokens), rtol=1e-5, atol=1e-5)
    if settings.get("pool_type") != "last":
        torch.testing.assert_close(encoder(tokens[1:, :5]), encoder(tokens)[1:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attentional_pool": True}, "pools by 'tok' or attention"),
        ({"block_type": "custom", "qk_norm": True}, "expected open_clip's ResidualAttentionBlock"),
    ],
)
def test_towers_that_are_not_supported(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_encoder_from(small_clip(**settings))


def test_siglip_reads_cells_through_its_pool() -> None:
    """Oracle: the type; its numbers are above."""
    encoder = image_encoder_from(siglip_tower())
    assert isinstance(encoder, ViTEncoder)
    assert isinstance(encoder.readout, LatentReadout)
    assert encoder.stem.num_prefix == 0


@torch.inference_mode()
def test_exported_batch_is_free() -> None:
    """Oracle: eager PyTorch at another batch and word count than traced; 1e-5. The graph has no -inf."""
    clip = small_clip(quick_gelu=True)
    encoder = image_encoder_from(clip)
    model = TCL(encoder, text_encoder_from(clip), grounder_for(encoder), preprocess_of(clip, encoder)).eval()

    class Masks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return self.model.masks(image, text)

    shapes = ({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC})
    program = torch.export.export(Masks(), (images(96), torch.randn(3, 32)), dynamic_shapes=shapes)
    picture, text = images(96, count=5), torch.randn(7, 32)
    torch.testing.assert_close(program.module()(picture, text), model.masks(picture, text), rtol=0, atol=1e-5)
    assert "inf" not in str(program.graph)


@pytest.mark.slow
@torch.inference_mode()
def test_vit_b16_at_448() -> None:
    """Oracle: parameter counts recorded from the reference implementation, shapes at 256 and, without numbers, at 448.

    The grounder leaves out the queries and keys of its block, which have no effect: 2 x (768 x 768 + 768).
    """
    vision = {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16, "image_size": 224}
    text = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
    clip = described(open_clip.CLIP(512, vision, text, quick_gelu=True), quick_gelu=True)
    encoder = image_encoder_from(clip)
    model = TCL(encoder, text_encoder_from(clip), grounder_for(encoder), preprocess_of(clip, encoder)).eval()

    def count(module: nn.Module | None) -> int:
        assert module is not None
        return sum(parameter.numel() for parameter in module.parameters())

    inert = 2 * (768 * 768 + 768)
    assert count(model.text_encoder) / 1e6 == pytest.approx(63.4, abs=0.05)
    assert count(model.image_encoder) / 1e6 == pytest.approx(86.2, abs=0.05)
    assert (count(model.grounder) + inert) / 1e6 == pytest.approx(28.73, abs=0.005)
    assert (count(model.grounder.blocks) + inert) / 1e6 == pytest.approx(7.088, abs=0.0005)
    assert count(model.grounder.decoder) / 1e6 == pytest.approx(21.243, abs=0.0005)
    assert count(model.grounder.projection) / 1e6 == pytest.approx(0.395, abs=0.0005)
    assert count(model.grounder.similarity_to_mask) == 2
    masks = model.masks(images(256, count=1), torch.randn(3, 512))
    assert masks.shape == (1, 3, 64, 64)
    assert masks.isfinite().all()
    empty = torch.empty(1, 3, 448, 448, device="meta"), torch.empty(3, 512, device="meta")  # shapes cost nothing
    assert model.to("meta").masks(*empty).shape == (1, 3, 112, 112)


@pytest.mark.parametrize("name", sorted(TOWERS))
@pytest.mark.parametrize("num_late", [2, 3])
@torch.inference_mode()
def test_stopping_earlier_changes_nothing(name: str, num_late: int) -> None:
    """Oracle: the encoder of the paper, which stops before its last block; exact. A copied tail is the tower's."""
    plain = image_encoder_from(TOWERS[name]())
    assert isinstance(plain, ViTEncoder)
    if num_late > len(plain.blocks):
        with pytest.raises(ValueError, match=rf"{num_late} late blocks of {len(plain.blocks) + 1}"):
            plain.with_late_blocks(num_late)
        return
    encoder = plain.with_late_blocks(num_late)
    expected = plain.project(plain.features(images()))
    features = encoder.features(images())
    assert features.shape[1] == encoder.dim * (1 + encoder.stem.num_prefix)
    assert torch.equal(encoder.project(features), expected)
    assert torch.equal(encoder.embed(images()), plain.embed(images()))
    blocks, projection = encoder.last_layers()
    assert projection is not None
    torch.testing.assert_close(projection(blocks(features)), expected, rtol=0, atol=1e-6)
