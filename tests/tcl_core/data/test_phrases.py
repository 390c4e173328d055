"""Captions as noun phrases, and the losses for images that own several."""

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from tcl_core.data.phrases import noun_phrases
from tcl_core.data.samples import Sample
from tcl_core.data.thesaurus import Rephrased, Thesaurus
from tcl_core.data.wordnet import WordNet
from tcl_core.errors import Problem
from tcl_core.train.gather import SingleProcess
from tcl_core.train.losses import AreaPrior, LossWeights, Summary, Temperatures
from tcl_core.train.objective import Objective
from tcl_core.train.pairing import Pairing, near_texts, pair
from tcl_core.train.phrase_losses import phrase_areas, phrase_nce, region_nce

LOG_SCALE = torch.tensor(math.log(5.0))


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("A VW Beetle.", ["vw beetle"]),
        ("a dog, a cat and the red car on green grass", ["dog", "cat", "red car", "green grass"]),
        ("dry grass on a dune in front of the sea and a blue sky", ["dry grass", "dune", "sea", "blue sky"]),
        ("hair, skin, hair", ["hair", "skin"]),
        ("a glass of water", ["glass of water"]),
        ("close-up of an orange flower", ["orange flower"]),
        ("sandal in hand", ["sandal", "hand"]),
        ("A plumber\u2019s wrench on a \u201cfuji\u201d apple", ["plumber's wrench", "fuji apple"]),
        (" On ", ["on"]),
    ],
)
def test_captions_are_cut_into_things(caption: str, phrases: list[str]) -> None:
    """Oracle: by hand."""
    assert noun_phrases(caption) == phrases


def test_pairing_numbers_each_phrase_once() -> None:
    """Oracle: by hand."""
    texts, own, chosen = pair([["dog", "grass"], ["cat"], ["grass", "sky", "dog"]], seed=3)
    assert texts == ["dog", "grass", "cat", "sky"]
    assert own.tolist() == [[0, 1, -1], [2, -1, -1], [1, 3, 0]]
    assert all(int(k) in row for k, row in zip(chosen, own.tolist(), strict=True))
    assert {tuple(pair([["dog", "grass"]], seed)[2].tolist()) for seed in range(20)} == {(0,), (1,)}


@pytest.fixture
def pairing() -> Pairing:
    near = torch.eye(5, dtype=torch.bool)
    near[0, 4] = near[4, 0] = True
    return Pairing(torch.tensor([[0, 1, -1], [2, 3, 1], [4, -1, -1]]), torch.tensor([1, 2, 4]), near)


def test_near_texts_are_neither_positives_nor_negatives(pairing: Pairing) -> None:
    """Oracle: by hand."""
    assert pairing.positives().int().tolist() == [[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 1]]
    assert pairing.negatives().int().tolist() == [[0, 0, 1, 1, 0], [1, 0, 0, 0, 1], [0, 1, 1, 1, 0]]
    assert pairing.part(1, 3).own.tolist() == pairing.own[1:3].tolist()


def test_nearness_is_the_cosine() -> None:
    """Oracle: by hand; lengths do not matter, and a vector of zeros is near itself."""
    near = near_texts(torch.tensor([[1.0, 0.0], [5.0, 1.0], [0.0, 2.0], [0.0, 0.0]]), limit=0.75)
    assert near.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def term(logits: list[float], positive: float) -> float:
    """-log of the positive's share among itself and the negatives."""
    return math.log(math.exp(positive) + sum(map(math.exp, logits))) - positive


def test_multi_positive_contrast_equals_a_loop(pairing: Pairing) -> None:
    """Oracle: loops over images, texts and negatives in Python's own arithmetic."""
    cosines = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    positives, negatives = pairing.positives(), pairing.negatives()
    logits = (5 * cosines.double()).tolist()
    by_image, by_text = [], []
    for i in range(3):
        for j in range(5):
            if positives[i, j]:
                by_image.append(term([logits[i][k] for k in range(5) if negatives[i, k]], logits[i][j]))
                by_text.append(term([logits[k][j] for k in range(3) if negatives[k, j]], logits[i][j]))
    expected = (sum(by_image) / len(by_image) + sum(by_text) / len(by_text)) / 2
    assert float(phrase_nce(cosines, LOG_SCALE, pairing)) == pytest.approx(expected, rel=1e-5)


def test_with_one_text_an_image_it_is_the_usual_contrast() -> None:
    """Oracle: torch's cross-entropy in both directions."""
    cosines = torch.rand(4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    target = torch.arange(4)
    both = [torch.nn.functional.cross_entropy(5 * c, target) for c in (cosines, cosines.T)]
    pairing = Pairing(target[:, None], target, torch.eye(4, dtype=torch.bool))
    torch.testing.assert_close(phrase_nce(cosines, LOG_SCALE, pairing), sum(both) / 2)


def test_region_contrast_equals_a_loop(pairing: Pairing) -> None:
    """Oracle: loops; the same image's other texts are negatives here, texts too near are none."""
    cosines = torch.rand(3, 3, 5, generator=torch.Generator().manual_seed(2)) * 2 - 1
    terms = []
    for i, row in enumerate(pairing.own.tolist()):
        for p, own in enumerate(row):
            if own >= 0:
                logits = (5 * cosines[i, p].double()).tolist()
                terms.append(term([logits[k] for k in range(5) if not pairing.near[own, k]], logits[own]))
    assert float(region_nce(cosines, LOG_SCALE, pairing)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_the_scale_stops_at_100(pairing: Pairing) -> None:
    """Identity: beyond ln 100 no loss changes any more, and the scale gets no gradient."""
    cosines = torch.rand(3, 5, generator=torch.Generator().manual_seed(4)) * 0.02
    for contrast, given in ((phrase_nce, cosines), (region_nce, cosines[:, None].expand(3, 3, 5))):
        log_scale = torch.tensor(20.0, requires_grad=True)
        loss = contrast(given, log_scale, pairing)
        torch.testing.assert_close(loss, contrast(given, torch.tensor(math.log(100.0)), pairing))
        loss.backward()
        assert log_scale.grad == 0


@pytest.mark.parametrize("prior", [AreaPrior(0.2, 0.0), AreaPrior(0.9, 0.8)])
def test_areas_leave_near_texts_out(prior: AreaPrior, pairing: Pairing) -> None:
    """Oracle: means by hand over the tables of the pairing, above and below the prior."""
    areas = torch.rand(3, 5, generator=torch.Generator().manual_seed(3))
    own = [(0, 0), (0, 1), (1, 1), (1, 2), (1, 3), (2, 4)]
    far = [(0, 2), (0, 3), (1, 0), (1, 4), (2, 1), (2, 2), (2, 3)]
    positive, negative = phrase_areas(areas, prior, pairing)
    assert float(positive) == pytest.approx(abs(sum(float(areas[p]) for p in own) / 6 - prior.positive), rel=1e-5)
    assert float(negative) == pytest.approx(abs(sum(float(areas[p]) for p in far) / 7 - prior.negative), rel=1e-5)


def test_without_negatives_the_gradient_is_finite() -> None:
    """Oracle: a batch that says one thing teaches nothing: loss and gradient 0."""
    cosines = torch.zeros(2, 1, requires_grad=True)
    same = Pairing(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), torch.ones(1, 1).bool())
    loss = phrase_nce(cosines, LOG_SCALE, same) + region_nce(cosines[:, None], LOG_SCALE, same)
    loss.backward()
    assert float(loss.detach()) == 0
    assert cosines.grad is not None
    assert float(cosines.grad.abs().sum()) == 0


def test_only_terms_that_are_on_are_computed(pairing: Pairing) -> None:
    """Oracle: nothing but what the region term needs is there, so anything else would be a KeyError."""
    weights = LossWeights(tcl_v=0, tcl_f=0, area=0, tv=0, region=1.0)
    objective = Objective(weights, Temperatures(weights), AreaPrior(), SingleProcess())
    terms = objective(Summary(region_cosines=torch.zeros(3, 3, 5)), pairing)
    assert [term.name for term in terms] == ["region"]


def test_tcl_v_looks_at_one_phrase_an_image(pairing: Pairing) -> None:
    """Oracle: by hand; an image's other phrases become negatives, what is near the chosen one does not count."""
    alone = pairing.chosen_alone()
    assert alone.positives().int().tolist() == [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]]
    assert alone.negatives().int().tolist() == [[1, 0, 1, 1, 1], [1, 1, 0, 1, 1], [0, 1, 1, 1, 0]]


WORDNET = Path("/usr/share/wordnet")


@pytest.mark.skipif(not (WORDNET / "index.noun").is_file(), reason="needs apt-get install wordnet-base")
def test_other_names_are_synonyms_and_kinds() -> None:
    """Oracle: WordNet 3.0, read by eye: names of the same meaning, and of what it is a kind of."""
    thesaurus = Thesaurus(WordNet(WORDNET))
    assert thesaurus.names("collie") == ["dog", "animal"]
    assert {"auto", "automobile", "vehicle"} <= set(thesaurus.names("car"))
    assert thesaurus.names("european bear") == ["animal", "bear"]
    assert thesaurus.names("xyzzy") == []


class Always:
    """A thesaurus with two names for a dog."""

    def names(self, phrase: str) -> list[str]:
        return ["animal", "hound"] if phrase == "dog" else []


class Captions:
    """A source of one caption."""

    problems: ClassVar[list[Problem]] = []
    groups = np.zeros(50, np.int32)

    def __len__(self) -> int:
        return 50

    def read(self, number: int, mode: str = "RGB") -> Sample:
        return Sample(Image.new(mode, (4, 4)), "a dog on the moon", f"number {number}")


def test_captions_are_rephrased_by_number() -> None:
    """Oracle: both names occur and nothing else; a number says the same twice; a share of 0 changes nothing."""
    source = Rephrased(Captions(), Always(), share=1.0, seed=0)  # type: ignore[arg-type]
    captions = [source.read(number).caption for number in range(50)]
    assert set(captions) == {"animal, moon", "hound, moon"}
    assert captions == [source.read(number).caption for number in range(50)]
    never = Rephrased(Captions(), Always(), share=0.0, seed=0)  # type: ignore[arg-type]
    assert never.read(7).caption == "dog, moon"
