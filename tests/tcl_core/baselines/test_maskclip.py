"""MaskCLIP against what its released code gave, and its refinements against loops written from the formulas."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tcl_core.baselines.maskclip import (
    PLAIN,
    REFINED,
    MaskClip,
    Refinement,
    denoise,
    keys_of,
    maskclip,
    refine,
    smooth,
    with_released_layers,
)
from tcl_core.encoder import DenseEncoder
from tcl_core.errors import ConfigError, UnsafePickleError, WeightsError
from tcl_core.segment import resize, slide
from tcl_core.towers.attention import cellwise
from tcl_core.towers.official import load_clip
from tcl_core.towers.open_clip import image_encoder_from
from tcl_core.towers.resnet import ResNetEncoder
from tcl_core.towers.vit import ViTEncoder, map_of
from tcl_core.towers.weights_file import load_strictly, read_weights_file, tensors_of

EMBEDDINGS, SCORES = 1e-4, 2e-5  # absolute, as the recordings' README says
SUMS = 1e-5  # relative, of smoothed scores above 1: they reach 100 here, where a unit in the last place is 7.6e-6
Recorded = Callable[[str], dict[str, Tensor]]
SETTING = re.compile(r"ks(?P<ks>[\d.]+)_pd(?P<pd>[\d.]+)$")


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected.to(actual.dtype), rtol=0, atol=tolerance)


def refinement_of(name: str) -> Refinement:
    found = SETTING.search(name)
    assert found
    axis = "channels" if "channelnorm" in name else "positions"
    return Refinement(float(found["pd"]), float(found["ks"]), axis)


def same_but_for_ties(actual: Tensor, expected: Tensor, scores: Tensor, dim: int) -> None:
    """Equal label maps, except where the best two scores are nearer than the tolerance of scores."""
    best = scores.topk(2, dim=dim).values
    tie = (best.select(dim, 0) - best.select(dim, 1)) < 2 * SCORES
    assert bool(((actual == expected) | tie).all())
    assert float((actual == expected).float().mean()) > 0.99


@pytest.mark.oracle
def test_refinements_of_given_cosines(recorded: Recorded) -> None:
    arrays = recorded("maskclip/refine.npz")
    checked = set()
    for name, expected in arrays.items():
        case = name.split("_")[0]
        if name in (f"{case}_cos", f"{case}_key"):
            continue
        close(refine(arrays[f"{case}_cos"], arrays[f"{case}_key"], refinement_of(name)), expected, SCORES)
        checked.add(case)
    assert checked == {name.split("_")[0] for name in arrays}


@pytest.fixture(scope="module")
def towers(small_clip_file: Path) -> dict[str, DenseEncoder]:
    trained = image_encoder_from(load_clip(small_clip_file))
    return {"quickgelu": trained, "official": with_released_layers(trained)}


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["official", "quickgelu"])
@torch.inference_mode()
def test_vision_transformer(recorded: Recorded, towers: dict[str, DenseEncoder], kind: str) -> None:
    """Keys, values, normal output, embeddings, scores and labels of every recorded size."""
    arrays, encoder = recorded("maskclip/end_to_end.npz"), towers[kind]
    assert isinstance(encoder, ViTEncoder)
    sizes = {name.removeprefix("image_") for name in arrays if name.startswith("image_")}
    assert sizes
    for name, expected in arrays.items():
        if not name.startswith(f"{kind}_") or "_slide_" in name:
            continue
        _, size, what = name.split("_", 2)
        images = arrays[f"image_{size}"]
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % encoder.stride, 0, -height % encoder.stride))
        features = encoder.features(padded)
        if what == "k":
            close(keys_of(encoder, features), expected, EMBEDDINGS)
        elif what == "v":
            close(cellwise(lambda x: encoder.readout.norm(encoder.final_block.value_path(x)), features), expected, 1e-4)
        elif what == "x":
            tokens, grid = encoder.stem(padded)
            for block in [*encoder.blocks, encoder.final_block]:
                tokens = block(tokens)
            close(map_of(encoder.readout.norm(tokens), encoder.stem.num_prefix, grid), expected, EMBEDDINGS)
        elif what == "dense_emb":
            close(encoder.project(features), expected, EMBEDDINGS)
        else:
            network = MaskClip(encoder, arrays["text_emb"], refinement_of(what))
            if what.startswith("head"):
                close(network.cells(images), expected, SCORES)
            else:
                assert what.startswith("argmax"), f"an array that no one checks: {name}"
                scores = network(images)
                same_but_for_ties(scores.argmax(dim=1), expected, scores, dim=1)


@pytest.mark.oracle
def test_windows(recorded: Recorded, towers: dict[str, DenseEncoder]) -> None:
    """Each window is refined by itself, outputs are averaged, then resized; a window has the tower's own size."""
    arrays = recorded("maskclip/end_to_end.npz")
    names = [name for name in arrays if "_slide_" in name]
    assert names
    for name in names:
        kind, _, setting = name.split("_", 2)
        encoder = towers[kind]
        assert isinstance(encoder, ViTEncoder)
        side = encoder.stem.native_grid[0] * encoder.stride
        network = MaskClip(encoder, arrays["text_emb"], refinement_of(setting.rpartition("_")[0]))
        mean = slide(network, arrays["slide_image"], window=side, stride=side // 2)
        if name.endswith("_mean"):
            half = arrays[name].dtype == torch.float16
            close(mean[0], arrays[name].float(), 2e-3 if half else EMBEDDINGS)  # of -100 / n, fp32 has 1e-5
        else:
            scores = resize(mean, arrays[name].shape)[0]
            same_but_for_ties(scores.argmax(dim=0), arrays[name], scores, dim=0)


def resnet_of(path: Path) -> open_clip.modified_resnet.ModifiedResNet:
    """An image tower alone, of the sizes that its file tells."""
    state = {name.removeprefix("visual."): value for name, value in tensors_of(read_weights_file(path), "").items()}
    width = state["layer1.0.conv1.weight"].shape[0]
    positions, dim = state["attnpool.positional_embedding"].shape
    blocks = [len({n.split(".")[1] for n in state if n.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)]
    output_dim = state["attnpool.c_proj.weight"].shape[0]
    side = 32 * math.isqrt(positions - 1)
    tower = open_clip.modified_resnet.ModifiedResNet(blocks, output_dim, dim // 64, side, width)
    load_strictly(tower, state, str(path))
    return tower.eval()


@pytest.mark.oracle
@torch.inference_mode()
def test_resnet(recorded: Recorded, eval_dir: Path) -> None:
    arrays = recorded("maskclip/resnet.npz")
    encoder = ResNetEncoder(resnet_of(eval_dir / "maskclip" / "rn_small_openai_layout.safetensors"))
    checked = 0
    for name, expected in arrays.items():
        if name == "text_emb" or name.startswith("image_"):
            continue
        size = next(part for part in name.split("_") if re.fullmatch(r"\d+x\d+", part))
        images = arrays[f"image_{size}"].float()
        features = encoder.features(images)
        if name.startswith("layer4"):
            close(features, expected, EMBEDDINGS)
        elif name.startswith("key"):
            close(keys_of(encoder, features), expected.flatten(2).transpose(1, 2), EMBEDDINGS)
        elif name.startswith("dense_emb"):
            close(encoder.project(features), expected, EMBEDDINGS)
        else:
            assert name.startswith("head")
            network = MaskClip(encoder, arrays["text_emb"], refinement_of(name))
            torch.testing.assert_close(network.cells(images), expected, rtol=SUMS, atol=SCORES)
        checked += 1
    assert checked


def naive_chances(cosines: Tensor, n: int, y: int, x: int) -> float:
    logits = [100 * float(value) for value in cosines[:, y, x]]
    top = max(logits)
    return math.exp(logits[n] - top) / sum(math.exp(value - top) for value in logits)


def naive(cosines: Tensor, keys: Tensor, setting: Refinement) -> Tensor:
    """One picture (N,h,w), keys (h*w,D), in loops over numbers of double precision."""
    num, height, width = cosines.shape
    out = cosines.double().clone()
    for n in range(num):
        best = max(naive_chances(cosines, n, y, x) for y in range(height) for x in range(width))
        if best < setting.denoise_below:
            out[n] = -100.0
    if not setting.smooth_below:
        return out
    chances = torch.tensor(
        [[[naive_chances(out, n, y, x) for x in range(width)] for y in range(height)] for n in range(num)],
        dtype=torch.float64,
    )
    cells, dim = keys.shape
    unit = keys.double().clone()
    for i in range(cells):
        for d in range(dim):
            other = keys[:, d] if setting.key_axis == "positions" else keys[i]
            unit[i, d] /= math.sqrt(sum(float(value) ** 2 for value in other))
    smoothed = chances.clone()
    for y in range(height):
        for x in range(width):
            if max(float(value) for value in chances[:, y, x]) >= setting.smooth_below:
                continue
            for n in range(num):
                total = 0.0
                for j in range(cells):
                    weight = sum(float(unit[y * width + x, d]) * float(unit[j, d]) for d in range(dim))
                    total += weight * float(chances[n, j // width, j % width])
                smoothed[n, y, x] = total
    return smoothed


@pytest.mark.parametrize("axis", ["positions", "channels"])
@pytest.mark.parametrize(("pd", "ks"), [(0.5, 0.0), (0.0, 0.8), (0.6, 0.9), (0.5, 1.0)])
def test_refinements_against_loops(axis: str, pd: float, ks: float) -> None:
    generator = torch.Generator().manual_seed(3)
    cosines = 0.2 + 0.02 * torch.randn(2, 5, 3, 4, generator=generator)
    keys = torch.randn(2, 12, 6, generator=generator)
    setting = Refinement(pd, ks, axis)
    expected = torch.stack([naive(*picture, setting) for picture in zip(cosines, keys, strict=True)])
    close(refine(cosines, keys, setting), expected, SCORES)


def test_all_classes_denoised_leave_the_first() -> None:
    cosines = torch.zeros(1, 4, 2, 2)
    dropped = denoise(cosines, 0.5)
    assert bool((dropped == -100).all())
    assert bool((dropped.argmax(dim=1) == 0).all())


def test_a_certain_cell_is_not_smoothed() -> None:
    """1.0 is not less than 1: what is certain to the last bit stays, as in the released code."""
    scores = torch.tensor([[[[1.0, 0.2]], [[-1.0, 0.2]]]])  # (1,2,1,2)
    smoothed = smooth(scores, torch.ones(1, 2, 3), 1.0)
    assert smoothed[0, :, 0, 0].tolist() == [1.0, 0.0]
    assert smoothed[0, :, 0, 1].tolist() == pytest.approx([3 * 0.5 * 1.5, 3 * 0.5 * 0.5])


def test_settings_that_cannot_be(wordy_clip_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"smooth_below is 1\.5: expected a probability in \[0, 1\]"):
        Refinement(0.5, 1.5)
    with pytest.raises(ConfigError, match="no axis 'heads' of keys: expected positions"):
        Refinement(0.5, 1, "heads")
    with pytest.raises(ConfigError, match="no activation 'relu': expected released"):
        maskclip(wordy_clip_file, ["cat"], activation="relu")
    with pytest.raises(ValueError, match="smoothing without keys"):
        refine(torch.zeros(1, 2, 3, 3), None, REFINED)


def test_a_row_from_a_file(wordy_clip_file: Path) -> None:
    """From weights and names to scores; oracle: the parts put together by hand."""
    names = ["cat", "grass", "sky"]
    network = maskclip(wordy_clip_file, names)
    assert network.text.shape == (3, network.encoder.embed_dim)
    assert network.settings == {
        "clip": str(wordy_clip_file),
        "activation": "released",
        "templates": "maskclip",
        "denoise_below": 0.5,
        "smooth_below": 1.0,
        "key_axis": "positions",
    }
    images = torch.randn(2, 3, 48, 41, generator=torch.Generator().manual_seed(0))
    scores = network(images)
    assert scores.shape == (2, 3, 48, 41)
    clip = load_clip(wordy_clip_file)
    texts = [f"a photo of a {name}." for name in names]
    raw = clip.model.encode_text(clip.tokenizer(texts))
    plain = maskclip(clip, names, refinement=PLAIN, activation="trained", template_name="simple")
    close(plain.text, F.normalize(raw.detach(), dim=1), EMBEDDINGS)
    assert {type(m) for m in plain.encoder.modules()} >= {open_clip.transformer.QuickGELU}
    assert open_clip.transformer.QuickGELU not in {type(m) for m in network.encoder.modules()}


def test_wrong_weights_are_refused(tmp_path: Path, golden_dir: Path) -> None:
    with pytest.raises(WeightsError, match="no CLIP in OpenAI's layout"):
        maskclip(golden_dir / "tcl_official_small.pth", ["cat"])
    with pytest.raises(FileNotFoundError, match="no file nowhere/clip.pt"):
        maskclip("nowhere/clip.pt", ["cat"])
    with pytest.raises(WeightsError, match="were trained with QuickGELU and ViT-B-16 has GELU"):
        maskclip("ViT-B-16", ["cat"], pretrained="openai")
    path = tmp_path / "clip.pt"
    torch.save({"model": print}, path)
    with pytest.raises(UnsafePickleError, match="could run code"):
        maskclip(path, ["cat"])
