"""Losses and gradients. Oracles: arrays recorded from the reference implementation, naive loops, identities."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tcl_core import TCL, load_tcl
from tcl_core.towers.official import ImportReport
from tcl_core.train.gather import SingleProcess
from tcl_core.train.losses import (
    AreaPrior,
    LossWeights,
    Summary,
    Temperatures,
    area_losses,
    info_nce,
    mask_images,
    pool_by_masks,
    pooled_cosines,
    total_variation,
)
from tcl_core.train.objective import GumbelMasks, Objective, Summarizer, Term, backward

GOLDEN = Path(__file__).parents[2] / "golden" / "tcl_small"
CLIP_FILE, TCL_FILE = GOLDEN / "clip_small_openai_layout.pth", GOLDEN / "tcl_official_small.pth"
# What the official code calls a trained tensor, by what we call it.
OFFICIAL_NAMES = {
    "similarity_to_mask.scale": "masker.sim2mask.w",
    "similarity_to_mask.bias": "masker.sim2mask.b",
    "tcl_v": "tcli_loss.logit_scale",
    "tcl_f": "tclf_loss.logit_scale",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN / "io.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind == "f"}


@pytest.fixture
def model() -> TCL:
    return load_tcl(CLIP_FILE, TCL_FILE)


def likeliest_masks(mask_logits: Tensor, first: int) -> Tensor:
    """Hard masks without noise and without gradient, as the recorded step used."""
    return (mask_logits > 0).float()


def objective(weights: LossWeights) -> Objective:
    return Objective(weights, Temperatures(weights), AreaPrior(), SingleProcess())


def by_name(terms: list[Term]) -> dict[str, Tensor]:
    return {term.name: term.value for term in terms}


def test_pooling_by_every_mask_is_the_references(golden: dict[str, Tensor]) -> None:
    """Oracle: `masked_pool`, to 1e-5."""
    pooled = pool_by_masks(golden["grounder_dense_emb"], golden["soft_masks"])
    torch.testing.assert_close(pooled, golden["masked_pool"], atol=1e-5, rtol=0)


def test_every_loss_is_the_references(golden: dict[str, Tensor]) -> None:
    """Oracle: `loss_*` from the recorded maps and embeddings, unweighted, to 1e-4 relative."""
    dense, masks, text = golden["grounder_dense_emb"], golden["soft_masks"], golden["text_emb"]
    summary = Summary(
        feature_cosines=pooled_cosines(pool_by_masks(dense, masks), text),
        areas=masks.mean(dim=(2, 3)),
        mask_variation=total_variation(masks).mean(dim=1),
        embedding_variation=total_variation(dense).mean(dim=1),
    )
    terms = by_name(objective(LossWeights(tcl_v=0))(summary))
    recorded = {
        "tcl_f": "tclf",
        "area_positive": "area_pos",
        "area_negative": "area_neg",
        "tv_embeddings": "tv_feat",
        "tv_masks": "tv_mask",
    }
    assert terms.keys() == recorded.keys()
    for name, value in terms.items():
        torch.testing.assert_close(value, golden["loss_" + recorded[name]], rtol=1e-4, atol=0)


def test_a_whole_step_is_the_references(golden: dict[str, Tensor]) -> None:
    """Oracle: one official step: weighted losses to 1e-4, their sum, gradients to 1e-3 relative, what gets one."""
    reports: list[ImportReport] = []
    model = load_tcl(CLIP_FILE, TCL_FILE, on_report=reports.append)
    with np.load(GOLDEN / "io.npz") as arrays:
        images, tokens = torch.from_numpy(arrays["train_image"]), torch.from_numpy(arrays["tokens"])
        trained = set(arrays["grad_param_names"].tolist())
    weights = LossWeights()
    goal = objective(weights)
    terms = backward(Summarizer(model, weights), goal, [images], model.encode_text(tokens), likeliest_masks)

    weighted = {term.name: term.weighted for term in terms}
    recorded = {
        "tcl_v": "tcli_loss",
        "tcl_f": "tclf_loss",
        "area_positive": "area_loss",
        "area_negative": "neg_area_loss",
        "tv_embeddings": "tv_img_loss",
        "tv_masks": "tv_mask_loss",
    }
    assert weighted.keys() == recorded.keys()
    for name, value in weighted.items():
        torch.testing.assert_close(value, golden["train_" + recorded[name]], rtol=1e-4, atol=0)
    torch.testing.assert_close(torch.stack(list(weighted.values())).sum(), golden["train_total"], rtol=1e-4, atol=0)

    parameters = dict(model.named_parameters(prefix="")) | dict(goal.temperatures.named_parameters())
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    for name, official in OFFICIAL_NAMES.items():
        own = gradients[name] if name in gradients else gradients["grounder." + name]
        torch.testing.assert_close(own, golden["grad/" + official], rtol=1e-3, atol=1e-7)
    norm = torch.stack([g.norm() for g in gradients.values()]).norm()
    torch.testing.assert_close(norm, golden["grad_norm_total"], rtol=1e-3, atol=0)
    official_names = {"grounder." + key.target: key.source for key in reports[0].keys if key.target}
    assert {official_names.get(name) or OFFICIAL_NAMES[name] for name in gradients} == trained


def test_the_tcl_v_gradient_reaches_the_grounder_through_sampled_masks(golden: dict[str, Tensor], model: TCL) -> None:
    """The straight-through gradient: TCL_v alone moves the decoder, and nothing of the frozen towers."""
    weights = LossWeights(tcl_f=0, area=0, tv=0)
    text = golden["text_emb"]
    backward(Summarizer(model, weights), objective(weights), [golden["train_image"]], text, GumbelMasks(0, 0))
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert "grounder.decoder.0.first.conv.weight" in moved
    assert "grounder.similarity_to_mask.bias" in moved
    assert not any(name.startswith(("image_encoder", "text_encoder")) for name in moved)


def test_info_nce_is_the_mean_of_two_naive_cross_entropies() -> None:
    """Oracle: a double loop in Python, to 1e-5."""
    cosines = torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    scale = 1 / 0.07
    expected = 0.0
    for i in range(5):
        for direction in (cosines[i, :], cosines[:, i]):
            exponentials = [math.exp(scale * float(value)) for value in direction]
            expected -= math.log(exponentials[i] / sum(exponentials)) / 10
    loss = info_nce(cosines, torch.tensor(math.log(scale)), SingleProcess())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_scale_stops_at_100() -> None:
    """Oracle: torch's cross-entropy of 100 times the cosines; beyond, the scale gets no gradient."""
    cosines = torch.eye(3) * 0.01
    log_scale = torch.tensor(20.0, requires_grad=True)
    loss = info_nce(cosines, log_scale, SingleProcess())
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(100 * cosines, torch.arange(3)))
    loss.backward()
    assert log_scale.grad == 0


def test_info_nce_refuses_unpaired_texts() -> None:
    for num_texts in (1, 3):
        with pytest.raises(ValueError, match=rf"2 images on each of 1 processes and {num_texts} texts: expected one"):
            info_nce(torch.zeros(2, num_texts), torch.tensor(1.0), SingleProcess())


class OneOfThree(SingleProcess):
    """A process whose fellows' rows are known; their other answers are as its own."""

    world_size = 3

    def __init__(self, rank: int, rows: Tensor) -> None:
        self.rank, self.rows = rank, rows

    def all(self, rows: Tensor) -> Tensor:
        return self.rows


def test_the_texts_of_a_process_are_those_of_its_rank() -> None:
    """Identity: the mean over three processes of two images is the loss of all six; areas without a prior, too."""
    cosines = torch.rand(6, 6, generator=torch.Generator().manual_seed(2)) * 2 - 1
    areas, nothing = (cosines + 1) / 2, AreaPrior(0.0, 0.0)
    contrasts, own, others = [], [], []
    for rank in range(3):
        mine = slice(2 * rank, 2 * rank + 2)
        contrasts.append(info_nce(cosines[mine], torch.tensor(1.0), OneOfThree(rank, cosines)))
        positive, negative = area_losses(areas[mine], nothing, OneOfThree(rank, areas))
        own.append(positive)
        others.append(negative)
    alone = SingleProcess()
    torch.testing.assert_close(torch.stack(contrasts).mean(), info_nce(cosines, torch.tensor(1.0), alone))
    whole = area_losses(areas, nothing, alone)
    torch.testing.assert_close((torch.stack(own).mean(), torch.stack(others).mean()), whole)


def test_pooling_is_a_naive_weighted_mean() -> None:
    """Oracle: loops over images, texts and cells, to 1e-5."""
    generator = torch.Generator().manual_seed(1)
    dense, masks = torch.randn(2, 3, 2, 4, generator=generator), torch.rand(2, 5, 2, 4, generator=generator)
    pooled = pool_by_masks(dense, masks)
    for image in range(2):
        for text in range(5):
            total, weight = torch.zeros(3), 0.0
            for y in range(2):
                for x in range(4):
                    total += dense[image, :, y, x] * masks[image, text, y, x]
                    weight += float(masks[image, text, y, x])
            torch.testing.assert_close(pooled[image, text], total / weight, atol=1e-5, rtol=1e-5)


def test_total_variation_counts_steps() -> None:
    """By hand: a vertical edge of height 1 in 2 x 4 cells is one step in three per row, and none along columns."""
    maps = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2)[None, None]
    assert total_variation(maps) == torch.tensor([[1 / 3]])
    assert total_variation(torch.ones(1, 2, 3, 3)).abs().sum() == 0


def test_every_map_has_its_own_variation() -> None:
    """Identity: maps side by side, in one image or in several, have the values that each has alone."""
    maps = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(3))
    alone = [[total_variation(one[None, None])[0, 0] for one in image] for image in maps]
    torch.testing.assert_close(total_variation(maps), torch.tensor(alone))


def test_area_compares_the_mean_of_the_batch() -> None:
    """By hand: own masks of 0.2 and 0.6 average to the prior, whatever each image does; others' are 0.1 and 0.3."""
    positive, negative = area_losses(torch.tensor([[0.2, 0.1], [0.3, 0.6]]), AreaPrior(), SingleProcess())
    assert float(positive) == pytest.approx(0.0, abs=1e-6)
    assert float(negative) == pytest.approx(0.2)


def test_one_image_has_no_negative_area() -> None:
    positive, negative = area_losses(torch.tensor([[0.5]]), AreaPrior(), SingleProcess())
    assert float(positive) == pytest.approx(0.1)
    assert negative == 0


def test_masked_images_keep_the_mean_colour_outside() -> None:
    """By hand: a 2 x 2 mask over 4 x 4 pixels keeps whole blocks; 0 is the mean colour in normalised images."""
    images = torch.ones(1, 3, 4, 4)
    masked = mask_images(images, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    assert masked[0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize("term", ["tcl_v", "tcl_f", "area", "tv", "contrastive"])
def test_every_term_has_its_own_switch(term: str, golden: dict[str, Tensor], model: TCL) -> None:
    """Identity: alone, a term has the value it has among the others, and only it is computed."""
    off = dict.fromkeys(("tcl_v", "tcl_f", "area", "tv", "contrastive"), 0.0)
    everything, alone = LossWeights(contrastive=1), LossWeights(**(off | {term: 1.0}))
    images, text = golden["train_image"], golden["text_emb"]
    values = []
    for weights in (everything, alone):
        with torch.no_grad():
            summary = Summarizer(model, weights)(images, text, 0, likeliest_masks)
            values.append(by_name(objective(weights)(summary)))
    of_term = {"area": {"area_positive", "area_negative"}, "tv": {"tv_embeddings", "tv_masks"}}.get(term, {term})
    assert values[1].keys() == of_term
    for name in of_term:
        torch.testing.assert_close(values[0][name], values[1][name])


@torch.no_grad()
def test_every_term_has_its_own_weight() -> None:
    """By hand, the log's order included: weights that differ, on a summary of which every term has another value."""
    cosines, image = torch.tensor([[0.1, 0.2], [0.3, 0.5]]), torch.tensor([1.0, 2.0])
    summary = Summary(cosines, 2 * cosines, 3 * cosines, cosines, image, 2 * image)
    weights = LossWeights(tcl_v=0.1, tcl_f=0.2, area=0.3, tv=0.4, contrastive=0.5)
    terms = objective(weights)(summary)
    expected = {
        "tcl_v": (0.1, contrast_of(2 * cosines)),
        "tcl_f": (0.2, contrast_of(cosines)),
        "contrastive": (0.5, contrast_of(3 * cosines)),
        "area_positive": (0.3, 0.1),
        "area_negative": (0.3, 0.25),
        "tv_embeddings": (0.4, 3.0),
        "tv_masks": (0.4, 1.5),
    }
    assert [term.name for term in terms] == list(expected)
    for term in terms:
        weight, value = expected[term.name]
        assert term.weight == weight
        assert float(term.value) == pytest.approx(float(value), abs=1e-6)
        assert float(term.weighted) == pytest.approx(weight * float(value), abs=1e-6)


def contrast_of(cosines: Tensor) -> Tensor:
    return info_nce(cosines, torch.tensor(math.log(1 / 0.07)), SingleProcess())


def test_the_region_term_needs_phrases() -> None:
    weights = LossWeights(tcl_v=0, tcl_f=0, area=0, tv=0, region=1)
    with pytest.raises(ValueError, match="contrasts phrases of one image: expected a pairing"):
        objective(weights)(Summary())


def test_a_temperature_learns_if_its_term_is_on() -> None:
    temperatures = Temperatures(LossWeights(tcl_v=0, region=0.2))
    assert {name for name, p in temperatures.named_parameters() if p.requires_grad} == {"tcl_f", "region"}
    assert list(temperatures.state_dict()) == ["tcl_v", "tcl_f", "contrastive", "region"]


@pytest.mark.parametrize(
    "weights", [{"tcl_v": -1.0}, {"tcl_v": float("nan")}, {"tcl_v": 0, "tcl_f": 0, "area": 0, "tv": 0}]
)
def test_weights_that_train_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected numbers of 0 or more, and one above 0"):
        LossWeights(**weights)


@pytest.mark.parametrize("term", ["tcl_v", "tcl_f", "area", "tv", "contrastive", "region"])
def test_every_term_but_the_plain_contrast_needs_masks(term: str) -> None:
    off = dict.fromkeys(("tcl_v", "tcl_f", "area", "tv", "contrastive", "region"), 0.0)
    assert LossWeights(**(off | {term: 1.0})).need_masks is (term != "contrastive")


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_chunks_of_texts_change_nothing(chunk: int, golden: dict[str, Tensor], model: TCL) -> None:
    """Identity: losses and gradients with and without chunks, to 1e-5 of the largest gradient."""
    images, text = golden["train_image"], golden["text_emb"]
    plain = gradients_of(model, [images], text, None)
    chunked = gradients_of(model, [images], text, chunk)
    assert_same(plain, chunked)


@pytest.mark.parametrize("sizes", [(2, 2), (1, 2, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("contrastive", [0.0, 1.0])
def test_gradient_accumulation_keeps_all_negatives(
    sizes: tuple[int, ...], contrastive: float, golden: dict[str, Tensor], model: TCL
) -> None:
    """Identity: a batch in parts gives losses and gradients of the undivided batch, noise of the masks included."""
    images, text = golden["train_image"], golden["text_emb"]
    weights = LossWeights(contrastive=contrastive)
    whole = gradients_of(model, [images], text, None, weights)
    parts = gradients_of(model, list(images.split(sizes)), text, None, weights)
    assert_same(whole, parts)


def test_recomputing_activations_changes_nothing(golden: dict[str, Tensor], model: TCL) -> None:
    """Identity, to 1e-5 of the largest gradient."""
    images, text = golden["train_image"], golden["text_emb"]
    assert_same(gradients_of(model, [images], text, None), gradients_of(model, [images], text, None, recompute=True))


def test_bfloat16_comes_close(golden: dict[str, Tensor], model: TCL) -> None:
    """Oracle: float32; bfloat16 has 8 bits, so 5 % on every term, and gradients stay float32."""
    images, text = golden["train_image"], golden["text_emb"]
    exact, _ = gradients_of(model, [images], text, None)
    rough, gradients = gradients_of(model, [images], text, None, autocast=torch.bfloat16)
    for name, term in exact.items():
        assert float(rough[name]) == pytest.approx(float(term), rel=0.05, abs=0.02)
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}


def gradients_of(
    model: TCL,
    parts: list[Tensor],
    text: Tensor,
    chunk: int | None,
    weights: LossWeights | None = None,
    **options: object,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    weights = weights or LossWeights()
    model.zero_grad()
    goal = objective(weights)
    summarizer = Summarizer(model, weights, chunk=chunk, **options)
    terms = backward(summarizer, goal, parts, text, GumbelMasks(3, 5))
    named = [*model.named_parameters(), *goal.temperatures.named_parameters()]
    return by_name(terms), {name: p.grad.clone() for name, p in named if p.grad is not None}


def assert_same(
    first: tuple[dict[str, Tensor], dict[str, Tensor]], second: tuple[dict[str, Tensor], dict[str, Tensor]]
) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        largest = max(float(value.abs().max()) for value in one.values())
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], atol=1e-5 * largest, rtol=1e-4)


def kept_for_the_gradient(model: TCL, images: Tensor, num_texts: int, chunk: int | None) -> int:
    """Bytes of the tensors that autograd keeps between forward and backward."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    texts = torch.randn(num_texts, 32, generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        summary = Summarizer(model, LossWeights(), chunk=chunk)(images, texts, 0, GumbelMasks(0, 0))
    assert summary.areas is not None
    return sum(kept.values())


def test_memory_of_chunks_does_not_grow_with_the_maps(golden: dict[str, Tensor], model: TCL) -> None:
    """Measured: 384 more texts are 384 more maps an image without chunks, and less than one map with them."""
    images = golden["train_image"]
    one_map = len(images) * 16 * 16 * 4  # bytes, of one text for all images
    grown = {
        chunk: kept_for_the_gradient(model, images, 512, chunk) - kept_for_the_gradient(model, images, 128, chunk)
        for chunk in (None, 16)
    }
    assert grown[None] > 384 * one_map
    assert grown[16] < 384 * one_map / 4
