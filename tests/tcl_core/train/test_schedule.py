"""Learning rate, phases, decay. Oracles: the paper's numbers, PyTorch's cosine, names by hand."""

import pytest
import torch
from torch import nn

from tcl_core.train.schedule import LearningRate, optimizer_groups, set_phase
from tcl_core.train.toy import build_toy

STEPS, BATCH = 50_000, 1024


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 7.5e-9), (15_000, 7.5e-5), (50_000, 1e-5), (32_500, (7.5e-5 + 1e-5) / 2), (7_500, 7.5e-5 * 0.50005)],
)
def test_the_papers_rates(step: int, rate: float) -> None:
    """Oracle: 3e-4 and 4e-5 times 1024 / 4096; warm-up over 15,000 steps from 1e-4; the middle of the cosine."""
    assert LearningRate().at(step, STEPS, BATCH) == pytest.approx(rate)


def test_the_cosine_is_pytorchs() -> None:
    """Oracle: torch.optim.lr_scheduler.CosineAnnealingLR at every step, to 1e-9."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.1)
    schedule = LearningRate(1.0, 0.1, reference_batch=0, warmup_steps=0)
    for step in range(40):
        assert schedule.at(step, 40, 8) == pytest.approx(reference.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        reference.step()


def test_a_warm_restart_is_a_cosine_of_its_own() -> None:
    """Oracle: the schedule without a restart before it, and a shorter one after it."""
    plain, again = (LearningRate(1.0, 0.1, reference_batch=0, warmup_steps=5, restart=k) for k in (0, 30))
    short = LearningRate(1.0, 0.1, reference_batch=0, warmup_steps=0)
    rates = [again.at(step, 40, 8) for step in range(41)]
    assert rates[:30] == [plain.at(step, 40, 8) for step in range(30)]
    assert rates[30:] == pytest.approx([short.at(step, 10, 8) for step in range(11)])
    assert (rates[30], rates[40]) == pytest.approx((1.0, 0.1))


def test_the_batch_of_the_run_scales_the_rate() -> None:
    schedule = LearningRate(reference_batch=4096, warmup_steps=0)
    assert schedule.at(0, 10, 4096) == pytest.approx(2 * schedule.at(0, 10, 2048))
    assert LearningRate(1e-3, reference_batch=0, warmup_steps=0).at(0, 10, 7) == pytest.approx(1e-3)


def test_a_phase_moves_the_blocks_only() -> None:
    grounder = build_toy(steps=0).grounder
    set_phase(grounder, blocks_train=False)
    frozen = {name for name, parameter in grounder.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all(name.startswith("blocks.") for name in frozen)
    set_phase(grounder, blocks_train=True)
    assert all(parameter.requires_grad for parameter in grounder.parameters())


@pytest.mark.parametrize("decay_scalars", [False, True])
def test_scalars_and_vectors_do_not_decay_unless_asked(decay_scalars: bool) -> None:
    """By hand: kernels and matrices decay; gates and the scale of the masks only as in the published training."""
    named = dict(build_toy(steps=0).grounder.named_parameters())
    groups = optimizer_groups(named.items(), 0.05, decay_scalars=decay_scalars)
    names = {id(parameter): name for name, parameter in named.items()}
    decaying, exempt = ({names[id(parameter)] for parameter in group["params"]} for group in groups)
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    assert decaying | exempt == named.keys()
    assert "decoder.0.first.conv.weight" in decaying
    assert "decoder.0.first.norm.weight" in exempt
    assert "decoder.0.first.conv.bias" in exempt
    assert ("decoder.0.first.gate" in decaying) is decay_scalars
    assert ("similarity_to_mask.bias" in decaying) is False  # its name ends like that of a bias
