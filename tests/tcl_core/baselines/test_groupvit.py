"""GroupViT's parts against loops over numbers, the whole of it against Hugging Face's port."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import GroupViTConfig, GroupViTModel

from tcl_core.baselines.groupvit import GroupVit
from tcl_core.baselines.groupvit_rows import ROWS, build_row
from tcl_core.baselines.groupvit_segment import (
    MAX_CLASSES,
    GroupVitWindows,
    class_scores,
    group_maps,
    pixel_scores,
    with_background,
)
from tcl_core.baselines.groupvit_vision import Assignment, group_mean, hard_assignment
from tcl_core.baselines.groupvit_weights import load_groupvit
from tcl_core.errors import ConfigError
from tcl_core.evaluate.evaluation import evaluate
from tcl_core.evaluate.folder import open_folder
from tcl_core.evaluate.soft_masks import SoftMasks
from tcl_core.pictures import open_picture, to_tensor
from tcl_core.segment import slide


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return open_clip.SimpleTokenizer()


@pytest.fixture(scope="module")
def port() -> GroupViTModel:
    """Random weights in a shape of its own, with CLIP's vocabulary: other depths, heads and patches than anything."""
    vision = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 96, "depths": [1, 2, 1]}
    vision |= {"num_hidden_layers": 4, "num_group_tokens": [7, 3, 0], "num_output_groups": [7, 3, 3]}
    vision |= {"image_size": 40, "patch_size": 8}
    text = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 128}
    config = GroupViTConfig(
        vision_config=vision,
        text_config=text | {"eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 0},
        projection_dim=12,
        projection_intermediate_dim=20,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = GroupViTModel(config).eval()
        for name, value in model.state_dict().items():
            if value.is_floating_point() and name != "logit_scale":
                noise = torch.randn_like(value) * (0.1 if value.ndim < 2 else value[0].numel() ** -0.5)
                value.copy_(value.abs() + 0.5 if name.endswith("running_var") else value + noise)
    return model


@pytest.fixture(scope="module")
def snapshot(port: GroupViTModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshot")
    port.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(snapshot: Path, tokenizer: Any) -> GroupVit:
    return load_groupvit(snapshot, tokenizer=tokenizer).model


@pytest.mark.oracle
@torch.inference_mode()
def test_the_towers_are_hugging_faces(port: GroupViTModel, model: GroupVit) -> None:
    """Embeddings, segments and assignments, at the trained size; texts of several lengths."""
    pixels = torch.randn(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    tokens = model.text.tokenize(["a photo of a cat.", "sky", "a bad photo of the large traffic light."])
    theirs = port(input_ids=tokens, pixel_values=pixels, output_segmentation=True, output_attentions=True)
    ours, text = model(pixels), model.text(tokens)
    torch.testing.assert_close(ours.grouped.segments, theirs.vision_model_output.last_hidden_state)
    for mine, their in zip(ours.grouped.assignments, theirs.vision_model_output.attentions, strict=True):
        torch.testing.assert_close(mine, their)
    for mine, their in ((ours.images, theirs.image_embeds), (text, theirs.text_embeds)):
        torch.testing.assert_close(torch.nn.functional.normalize(mine, dim=-1), their)
    assert len({tuple(row.argmax(dim=0).unique().tolist()) for row in ours.grouped.assignments[0]}) > 1


def test_as_many_parameters_as_published() -> None:
    """55.73 M, 28.84 M of them in the picture tower: counted in the authors' model."""
    from tcl_core.baselines.groupvit import GroupVitShape, TextShape
    from tcl_core.baselines.groupvit_vision import StageShape, VisionShape

    stages = (StageShape(6, 64, 192), StageShape(3, 8, 192, 64, 192), StageShape(3, 0, 0))
    shape = GroupVitShape(VisionShape(384, 6, 16, 14, 1536, stages), TextShape(77, 49408, 256, 4, 12), 4096, 256)
    with torch.device("meta"):
        published = GroupVit(shape, tokenizer=object())
    counts = [sum(value.numel() for value in part.parameters()) for part in (published, published.vision)]
    assert [round(count / 1e6, 2) for count in counts] == [55.73, 28.84]


def test_hard_assignment_by_loops() -> None:
    """Ties go to the first group, groups without patches stay empty, a group's mean divides by one more than it has."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randint(-2, 3, (2, 5, 9), generator=generator).float()
    logits[0, 3] = -5  # a group that nothing belongs to
    values = torch.randn(2, 9, 4, generator=generator)
    hard = hard_assignment(logits)
    means = group_mean(hard, values)
    for image in range(2):
        members: dict[int, list[int]] = {group: [] for group in range(5)}
        for patch in range(9):
            column = [float(logits[image, group, patch]) for group in range(5)]
            members[column.index(max(column))].append(patch)
        for group, patches in members.items():
            assert hard[image, group].tolist() == [float(patch in patches) for patch in range(9)]
            total = sum((values[image, patch] for patch in patches), torch.zeros(4))
            torch.testing.assert_close(means[image, group], total / (len(patches) + 1))
    assert not means[0, 3].any()


@torch.inference_mode()
def test_nothing_is_drawn_and_the_straight_through_value_is_the_hard_one() -> None:
    """Training's value, hard - soft + soft, is the hard one but for rounding; the soft one is what is reported."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        assign, tokens, patches = Assignment(8), torch.randn(1, 3, 8), torch.randn(1, 6, 8)
    received, soft = assign(tokens, patches)
    again, _ = assign(tokens, patches)
    assert torch.equal(received, again)
    logits = [
        [float(assign.query(tokens)[0, group] @ assign.key(patches)[0, patch]) / math.sqrt(8) for patch in range(6)]
        for group in range(3)
    ]
    for patch in range(6):
        total = sum(math.exp(row[patch]) for row in logits)
        for group in range(3):
            assert float(soft[0, group, patch]) == pytest.approx(math.exp(logits[group][patch]) / total, abs=1e-6)
    through = hard_assignment(soft) - soft.detach() + soft
    expected = assign.out(group_mean(through, assign.value(patches)))
    torch.testing.assert_close(received, expected)


def scores_by_loops(segments: Tensor, image: Tensor, text: Tensor, scale: float) -> list[list[float]]:
    """Of one window, in Python's numbers."""

    def cosine(one: Tensor, other: Tensor) -> float:
        return float(one.double() @ other.double() / one.double().norm())

    def softmax(logits: list[float]) -> list[float]:
        powers = [math.exp(logit - max(logits)) for logit in logits]
        return [power / sum(powers) for power in powers]

    ranked = sorted(range(len(text)), key=lambda index: -cosine(image, text[index]))[:MAX_CLASSES]
    rows = []
    for segment in segments:
        every = softmax([scale * cosine(segment, row) for row in text])
        among = softmax([scale * cosine(segment, text[index]) for index in ranked])
        rows.append([every[i] * among[ranked.index(i)] if i in ranked else 0.0 for i in range(len(text))])
    return rows


@pytest.mark.parametrize("num_classes", [1, 3, 5, 8])
def test_a_window_by_loops(num_classes: int) -> None:
    """Scores, pixels and background of two windows with different gates."""
    generator = torch.Generator().manual_seed(num_classes)
    segments, images = torch.randn(2, 4, 6, generator=generator), torch.randn(2, 6, generator=generator)
    text = torch.nn.functional.normalize(torch.randn(num_classes, 6, generator=generator), dim=1)
    maps = torch.rand(2, 4, 5, 7, generator=generator)
    maps[0, 2] = 0  # owns no pixel
    scores = class_scores(segments, images, text, 5.0)
    pixels = pixel_scores(scores, maps)
    for window in range(2):
        rows = scores_by_loops(segments[window], images[window], text, 5.0)
        torch.testing.assert_close(scores[window], torch.tensor(rows), atol=1e-5, rtol=0)
        for threshold in (0.0, 0.2, 0.95, 1.0):
            votes = pixel_scores(with_background(scores, threshold), maps)[window, 0]
            lowered = min(threshold, float(scores[window].max()))
            for y in range(5):
                for x in range(7):
                    owned = [float(maps[window, group, y, x]) for group in range(4)]
                    group = owned.index(max(owned))
                    assert pixels[window, :, y, x].tolist() == scores[window, group].tolist()
                    assert bool(votes[y, x]) == (float(scores[window, group].max()) < lowered)


def test_a_group_without_pixels_can_make_everything_background() -> None:
    scores = torch.tensor([[[0.3, 0.1], [0.5, 0.2]]])
    maps = torch.tensor([1.0, 0.0])[None, :, None, None].expand(1, 2, 2, 2)

    def background(threshold: float, groups: Tensor = scores) -> list[float]:
        return pixel_scores(with_background(groups, threshold), maps[:, : groups.shape[1]])[:, 0].flatten().tolist()

    assert background(0.95) == [1, 1, 1, 1]
    assert background(0.3) == [0, 0, 0, 0]  # reaching it is enough
    assert background(0.95, scores[:, :1]) == [0, 0, 0, 0]


def test_maps_follow_both_assignments() -> None:
    """Sums over middle groups; then bilinear between the centres of patches, which the border repeats."""
    generator = torch.Generator().manual_seed(5)
    first, second = torch.rand(1, 3, 6, generator=generator), torch.rand(1, 2, 3, generator=generator)
    size = (5, 8)
    maps = group_maps((first, second), (2, 3), size)
    for group in range(2):
        patches = [sum(float(second[0, group, g] * first[0, g, p]) for g in range(3)) for p in range(6)]
        for y in range(size[0]):
            for x in range(size[1]):
                v, u = (max((k + 0.5) * n / s - 0.5, 0) for k, n, s in ((y, 2, 5), (x, 3, 8)))
                total = 0.0
                for row, wy in ((int(v), 1 - v % 1), (min(int(v) + 1, 1), v % 1)):
                    for column, wx in ((int(u), 1 - u % 1), (min(int(u) + 1, 2), u % 1)):
                        total += wy * wx * patches[row * 3 + column]
                assert float(maps[0, group, y, x]) == pytest.approx(total, abs=1e-6)


@torch.inference_mode()
def test_windows_are_segmented_each_by_itself(model: GroupVit) -> None:
    windows = GroupVitWindows(model, torch.nn.functional.normalize(torch.randn(9, 12), dim=1), 0.5)
    images = torch.randn(3, 3, 44, 53)
    torch.testing.assert_close(windows(images), torch.cat([windows(image[None]) for image in images]))


@torch.inference_mode()
def test_pixels_beyond_the_last_patch_are_not_seen(model: GroupVit) -> None:
    images = torch.randn(1, 3, 45, 50)
    other = images.clone()
    other[:, :, 40:], other[..., 48:] = 9, 9
    assert torch.equal(model(images).segments, model(other).segments)


def test_images_and_texts_that_are_none(model: GroupVit) -> None:
    for shape in ((3, 40, 40), (1, 1, 40, 40), (1, 3, 7, 40)):
        with pytest.raises(ValueError, match=r"expected \(B,3,H,W\), sides of 8 pixels or more"):
            model(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"texts of shape \(2, 5\): expected \(N,12\)"):
        GroupVitWindows(model, torch.zeros(2, 5), None)
    with pytest.raises(ConfigError, match=r"threshold of 95: expected 0 to 1"):
        GroupVitWindows(model, torch.zeros(2, 12), 95)
    with pytest.raises(ValueError, match=r"for inference"):
        model.train()


def test_a_row_is_measured(snapshot: Path, tokenizer: Any, tmp_path: Path) -> None:
    """As a command does it: windows averaged along a picture, the background's share against averaged scores."""
    names = ["cat", "car", "traffic light"]
    row = build_row(ROWS[0], snapshot, names, threshold=0.95, tokenizer=tokenizer)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    (tmp_path / "classes.txt").write_text("\n".join(names))
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (50, 70, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    Image.fromarray(generator.integers(0, 3, (50, 70)).astype(np.uint8)).save(tmp_path / "masks" / "a.png")

    def segment(picture: Image.Image) -> SoftMasks:
        pixels = to_tensor(picture, row.windows.preprocess, 48)
        scores = slide(row.windows, pixels, window=48, stride=24)[0]
        return SoftMasks(scores[1:], scores[0])

    figures = evaluate(segment, open_folder(tmp_path)).figures()
    assert 0 <= figures["settings"][0]["mean_iou"] <= 1
    masks = segment(open_picture(tmp_path / "images" / "a.png"))
    assert masks.words.shape == (3, 48, 67)
    assert set((2 * masks.background).unique().tolist()) <= {0, 1, 2}  # two windows, side by side
    json.dumps(dict(row.settings))
    assert row.settings["trained_on"] == "not told by the file"
    assert row.settings["background_threshold"] == 0.95
    texts = model_texts(row.windows.model, names)
    torch.testing.assert_close(row.windows.text, texts)


@torch.inference_mode()
def model_texts(model: GroupVit, names: list[str]) -> Tensor:
    """One prompt, unit length."""
    return torch.nn.functional.normalize(model.text(model.text.tokenize([f"a photo of a {name}." for name in names])))
