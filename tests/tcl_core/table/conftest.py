"""All eight benchmarks in miniature, and weights of every system: small, random, in their authors' layouts."""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from timm.models.deit import VisionTransformerDistilled
from transformers import GroupViTConfig, GroupViTModel

from tcl_core.baselines.groupvit_rows import ROWS
from tcl_core.baselines.reco.references import IMPORTED, References
from tcl_core.evaluate.layouts import KEYS, LAYOUTS
from tcl_core.evaluate.masks import UNKNOWN
from tcl_core.evaluate.names import class_words
from tcl_core.towers.weights_file import read_weights_file

GOLDEN = Path(__file__).parents[2] / "golden"
WORDS = "token_embedding.weight"
NAMES = ("a", "b", "c")


def write_data(data: Path) -> Path:
    """Three pictures of each benchmark in its standard layout; masks of blocks of any values that it may have."""
    random = np.random.default_rng(0)
    for layout in LAYOUTS.values():
        root = data / layout.root
        folder = "city/" if layout.key == "cityscapes" else ""
        if layout.split:
            (root / layout.split).parent.mkdir(parents=True, exist_ok=True)
            (root / layout.split).write_text("".join(f"{name}\n" for name in NAMES))
        for name in NAMES:
            image = root / layout.images / f"{folder}{name}{layout.image_suffix}"
            mask = root / layout.masks / f"{folder}{name}{layout.mask_suffix}"
            for path in (image, mask):
                path.parent.mkdir(parents=True, exist_ok=True)
            if not image.exists():
                Image.fromarray(random.integers(0, 256, (40, 48, 3), np.uint8)).save(image)
            if not mask.exists():
                allowed = np.flatnonzero(layout.rule.numbers != UNKNOWN).astype(np.uint8)
                Image.fromarray(random.choice(allowed, (5, 6)).repeat(8, 0).repeat(8, 1)).save(mask)
    return data


def write_weights(weights: Path) -> Path:
    """One file or folder a system, each known by its documented name."""
    weights.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # The small CLIP that the small tcl.pth belongs to, with all words.
        clip = torch.load(GOLDEN / "tcl_small" / "clip_small_openai_layout.pth", weights_only=True)
        clip[WORDS] = torch.randn(49408, clip[WORDS].shape[1])
        torch.save(clip, weights / "ViT-B-16.pt")
        checkpoint = dict(read_weights_file(GOLDEN / "tcl_small" / "tcl_official_small.pth"))
        checkpoint["model"] = dict(checkpoint["model"]) | {f"clip_text_encoder.{WORDS}": clip[WORDS]}
        torch.save({"model": checkpoint["model"]}, weights / "tcl.pth")
        vision = {"layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "image_size": 64}
        text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
        resnet = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text, quick_gelu=True)
        torch.save(resnet.state_dict(), weights / "RN50x16.pt")
        deit = VisionTransformerDistilled(img_size=32, patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=5)
        torch.save({"model": deit.state_dict()}, weights / "deit_s_sin.pth")
        names = sorted({word.synonyms[0] for key in KEYS for word in class_words(key)})
        References({name: torch.randn(64) for name in names}, {IMPORTED: "test"}).save(
            weights / "references.safetensors"
        )
        for row in ROWS:
            port().save_pretrained(weights / row.hub)
    return weights


def port() -> GroupViTModel:
    """GroupViT in Hugging Face's layout, with CLIP's vocabulary."""
    vision: dict[str, Any] = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 96, "depths": [1, 2, 1]}
    vision |= {"num_hidden_layers": 4, "num_group_tokens": [7, 3, 0], "num_output_groups": [7, 3, 3]}
    vision |= {"image_size": 40, "patch_size": 8}
    text = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 128}
    text |= {"eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 0}
    config = GroupViTConfig(vision_config=vision, text_config=text, projection_dim=12, projection_intermediate_dim=20)
    return GroupViTModel(config).eval()


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("all") / "weights")
