"""GroupViT against what its authors' code and Hugging Face's said of the same random weights.

Which sizes, numbers of classes and thresholds there are, the files tell. Tolerances are those of the README beside
them: 1e-4 on embeddings, 2e-5 on scores and maps; a label may differ only where its first two scores are that near.
"""

import json
import os
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from tcl_core.baselines.groupvit import GroupVit
from tcl_core.baselines.groupvit_segment import GroupVitWindows, group_maps
from tcl_core.baselines.groupvit_vision import hard_assignment
from tcl_core.baselines.groupvit_weights import load_groupvit
from tcl_core.encoder import TextEncoder
from tcl_core.prompts import Templates, embed_words
from tcl_core.segment import resize, slide

pytestmark = pytest.mark.oracle

EMBEDDING, SCORE = 1e-4, 2e-5
HALF = 5e-4  # maps that were kept as float16
FEW = 1e-3  # share of pixels between two groups
TOKENIZER = object()  # texts are given as tokens here
LAYOUTS = {"authors": "official_small.pth", "hugging face": "hf_small"}

Arrays = Mapping[str, Tensor]


def arrays(path: Path) -> dict[str, Tensor]:
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(scope="module")
def folder() -> Path:
    copy = Path(__file__).parents[2] / "golden" / "eval"
    return Path(os.environ.get("TCL_GOLDEN_EVAL") or copy) / "groupvit"


@pytest.fixture(scope="module")
def official(folder: Path) -> Arrays:
    return arrays(folder / "official.npz")


@pytest.fixture(scope="module")
def ported(folder: Path) -> Arrays:
    return arrays(folder / "hf.npz")


@pytest.fixture(scope="module", params=LAYOUTS.values(), ids=LAYOUTS.keys())
def model(folder: Path, request: pytest.FixtureRequest) -> GroupVit:
    return load_groupvit(folder / request.param, tokenizer=TOKENIZER).model


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=0, atol=tolerance)


def sizes(official: Arrays) -> list[str]:
    found = [match[1] for key in official if (match := re.fullmatch(r"image_(\d+x\d+)", key))]
    assert found
    return found


def near_ties(scores: Tensor) -> Tensor:
    """Where the first two of (N,H,W) are too near to tell which is first."""
    first, second = scores.topk(2, dim=0).values
    return first - second < SCORE


def share(pixels: Tensor) -> float:
    return float(pixels.double().mean())


def test_both_layouts_hold_the_same_model(folder: Path) -> None:
    one, two = (load_groupvit(folder / file, tokenizer=TOKENIZER).model.state_dict() for file in LAYOUTS.values())
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_every_tensor_is_accounted_for(folder: Path) -> None:
    """Oracles: the words in the pickle, which is not run; the safetensors library."""
    path = folder / "official_small.pth"
    with zipfile.ZipFile(path) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        words = [word for _, word, _ in pickletools.genops(archive.read(member)) if isinstance(word, str)]
    tensors = {word for word in words if re.match(r"(img|text)_(encoder|projector)\.|.*logit_scale$", word)}
    report = load_groupvit(path, tokenizer=TOKENIZER).report
    assert {key.source for key in report.keys} == tensors
    assert {key.source for key in report.keys if not key.target} <= {"multi_label_logit_scale"}

    report = load_groupvit(folder / "hf_small", tokenizer=TOKENIZER).report
    with safe_open(folder / "hf_small" / "model.safetensors", "pt") as file:
        expected = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert {key.source: key.shape for key in report.keys} == expected
    assert all(key.target for key in report.keys)


def test_native_size(model: GroupVit, official: Arrays) -> None:
    embedded = model(official["native_image"])
    near(embedded.grouped.segments, official["native_segments"], EMBEDDING)
    near(embedded.grouped.segments.mean(dim=1), official["native_pooled"], EMBEDDING)
    near(embedded.segments, official["native_segment_emb"], EMBEDDING)
    near(embedded.images, official["native_image_emb"], EMBEDDING)
    for stage, assignment in enumerate(embedded.grouped.assignments, start=1):
        near(assignment, official[f"native_assign_soft_stage{stage}"], SCORE)
        near(hard_assignment(assignment), official[f"native_assign_hard_stage{stage}"], SCORE)
    assert f"native_assign_soft_stage{stage + 1}" not in official


def test_texts(model: GroupVit, official: Arrays) -> None:
    near(model.text(official["tokens"]), official["text_emb"], EMBEDDING)


def test_classes_are_means_of_templates(model: GroupVit, official: Arrays) -> None:
    """The averaging that all rows use, on recorded tokens instead of words."""
    tokens = official["template_tokens"]

    class Recorded(TextEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.text = model.text

        def tokenize(self, texts: list[str]) -> Tensor:
            return torch.stack([tokens[tuple(map(int, text.split()))] for text in texts])

        def forward(self, tokens: Tensor) -> Tensor:
            return self.text(tokens)

    prompts = Templates("recorded", tuple(f"{{}} {number}" for number in range(tokens.shape[1])), "raw")
    near(embed_words(Recorded(), list(map(str, range(len(tokens)))), prompts), official["class_text_emb"], EMBEDDING)


def test_other_sizes(model: GroupVit, official: Arrays) -> None:
    for size in sizes(official):
        image = official[f"image_{size}"]
        embedded = model(image)
        near(embedded.segments[0], official[f"segment_emb_{size}"], EMBEDDING)
        near(embedded.images[0], official[f"image_emb_{size}"], EMBEDDING)
        for stage, assignment in enumerate(embedded.grouped.assignments, start=1):
            near(assignment[0], official[f"assign_soft_stage{stage}_{size}"], SCORE)
        maps = group_maps(embedded.grouped.assignments, embedded.grouped.grid, image.shape[2:])[0]
        if (key := f"group_map_{size}") in official:
            near(maps, official[key], HALF)
        differing = maps.argmax(dim=0) != official[f"group_argmax_{size}"]
        assert not (differing & ~near_ties(maps)).any()


def test_windows(model: GroupVit, official: Arrays) -> None:
    """Scores of every size, number of classes and threshold; background is 0 or 1."""
    found = {
        key: match.groups()
        for key in official
        if (match := re.fullmatch(r"seg_(\d+x\d+)_(n\d+)_(?:nobg|bg([\d.]+))", key))
    }
    assert {size for size, _, _ in found.values()} == set(sizes(official))
    assert any(threshold for _, _, threshold in found.values())
    for key, (size, classes, threshold) in found.items():
        image = official[f"image_{size}"]
        windows = GroupVitWindows(model, official[f"text_{size}_{classes}"], float(threshold) if threshold else None)
        grouped = model(image).grouped
        ties = near_ties(group_maps(grouped.assignments, grouped.grid, image.shape[2:])[0])
        scores = windows(image)[0]
        assert scores.shape == official[key].shape
        near(torch.where(ties, 0, scores), torch.where(ties, 0, official[key]), SCORE)
        assert share(ties) < FEW
        assert not threshold or set(scores[0].unique().tolist()) <= {0, 1}


def test_averaged_over_windows(model: GroupVit, official: Arrays, folder: Path) -> None:
    """Windows of the recorded side and step; pixels whose group is a near-tie in a window may differ."""
    _, _, side, stride, _ = json.loads((folder / "report.json").read_text())["config"]["slide"]
    image, text = official["slide_image"], official["slide_text"]
    found = [match[1] for key in official if (match := re.fullmatch(r"slide_logits_(.+)", key))]
    assert "nobg" in found
    for setting in found:
        windows = GroupVitWindows(model, text, None if setting == "nobg" else float(setting.removeprefix("bg")))
        scores = slide(windows, image, window=side, stride=stride)
        expected = official[f"slide_logits_{setting}"]
        differing = (scores[0] - expected).abs().amax(dim=0) > SCORE
        assert scores.shape[1:] == expected.shape
        assert share(differing) < FEW
        prediction = official[f"slide_pred_{setting}"]
        resized = resize(scores, prediction.shape)[0]
        wrong = resized.argmax(dim=0) != prediction
        assert share(wrong & ~near_ties(resized)) < FEW


def test_hugging_faces_outputs(model: GroupVit, ported: Arrays) -> None:
    """Its embeddings are unit vectors, and its scale is not limited."""
    embedded, texts = model(ported["pixel_values"]), model.text(ported["input_ids"])
    images, texts = (torch.nn.functional.normalize(values, dim=-1) for values in (embedded.images, texts))
    near(images, ported["image_embeds"], EMBEDDING)
    near(texts, ported["text_embeds"], EMBEDDING)
    cosines = ported["logits_per_image"] / model.logit_scale.exp()
    near(images @ texts.T, cosines, EMBEDDING)
    near(embedded.grouped.segments, ported["vision_last_hidden_state"], EMBEDDING)
    near(embedded.grouped.segments.mean(dim=1), ported["vision_pooler_output"], EMBEDDING)
    for stage, assignment in enumerate(embedded.grouped.assignments):
        near(assignment, ported[f"vision_attention_{stage}"], SCORE)
    text = model.text
    projection, text.projection = text.projection, torch.nn.Identity()
    try:
        near(text(ported["input_ids"]), ported["text_pooler_output"], EMBEDDING)
    finally:
        text.projection = projection


def test_hugging_faces_segmentation_is_another(model: GroupVit, ported: Arrays) -> None:
    """Reproduced from our parts, so that it is seen to be the method that differs and not the model.

    Soft groups blend, no class is ruled out, and the scale is applied twice, without a limit.
    """
    embedded = model(ported["pixel_values"])
    texts = torch.nn.functional.normalize(model.text(ported["input_ids"]), dim=-1)
    grouped = embedded.grouped
    size = ported["segmentation_logits"].shape[2:]
    segments = torch.nn.functional.normalize(embedded.segments, dim=-1)
    logits = (model.logit_scale.exp() * (segments @ texts.T)).transpose(1, 2)  # (B,N,G)
    maps = group_maps(grouped.assignments, grouped.grid, size)
    blended = model.logit_scale.exp() * torch.einsum("bng,bghw->bnhw", logits, maps)
    expected = ported["segmentation_logits"]
    torch.testing.assert_close(blended, expected, rtol=1e-4, atol=float(expected.abs().max()) * 1e-5)
