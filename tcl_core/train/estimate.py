"""How much memory and time a run will take, measured on one and two images before it starts."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tcl_core.data.batches import Encoded
from tcl_core.encoder import DenseEncoder
from tcl_core.train.objective import GumbelMasks, Summarizer
from tcl_core.train.recipe import DataConfig
from tcl_core.train.schedule import set_phase

if TYPE_CHECKING:
    from tcl_core.train.trainer import Trainer


@dataclass(frozen=True)
class Estimate:
    """What one process needs. Bytes are those of tensors; the interpreter and libraries come on top.

    Attributes:
        num_trained: parameters that train.
        num_frozen: parameters that do not.
        weights_bytes: of all parameters.
        update_bytes: gradients, both moments of Adam, running mean.
        image_bytes: what the gradient keeps for each image of a part.
        activation_bytes: the same for a whole part.
        step_s: seconds a step, data not included.
        total_h: hours for the steps that are left.
    """

    num_trained: int
    num_frozen: int
    weights_bytes: int
    update_bytes: int
    image_bytes: int
    activation_bytes: int
    step_s: float
    total_h: float

    @property
    def total_bytes(self) -> int:
        """All of it together."""
        return self.weights_bytes + self.update_bytes + self.activation_bytes

    def __str__(self) -> str:
        """Sum up in one line."""
        return (
            f"{self.num_trained / 1e6:.2f} M parameters train, {self.num_frozen / 1e6:.2f} M are frozen; about "
            f"{self.total_bytes / 1e9:.2f} GB a process ({self.weights_bytes / 1e9:.2f} weights, "
            f"{self.update_bytes / 1e9:.2f} gradients and optimizer, {self.activation_bytes / 1e9:.2f} activations); "
            f"about {self.step_s:.2f} s a step, {self.total_h:.1f} h in all, if the data keeps up"
        )


def _bytes(parameters: list[nn.Parameter]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def _measure(summarize: Summarizer, images: Tensor | Encoded, texts: Tensor) -> tuple[int, float]:
    """Run forward and backward: bytes kept for the gradient, seconds."""
    kept: dict[int, int] = {}
    known = {parameter.untyped_storage().data_ptr() for parameter in summarize.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    start = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        summary = summarize(images, texts, 0, GumbelMasks(0, 0))
    total = torch.stack([tensor.sum() for tensor in summary.tensors().values()]).sum()
    if total.requires_grad:
        total.backward()  # type: ignore[no-untyped-call]
    if texts.is_cuda:
        torch.cuda.synchronize()
    return sum(kept.values()), time.perf_counter() - start


def _noise(data: DataConfig, encoder: DenseEncoder, count: int, device: torch.device) -> Tensor | Encoded:
    """Make images of noise, and what goes with them, as the training reads them."""
    generator = torch.Generator().manual_seed(0)
    size, cells = data.image_size, data.image_size // encoder.stride
    if not data.features:
        return torch.randn(count, 3, size, size, generator=generator).to(device)
    features = torch.randn(count, encoder.dim, cells, cells, generator=generator)
    pictures = torch.randn(count, 3, data.reencode_size, data.reencode_size, generator=generator)
    return Encoded(features, pictures if data.reencode_size else None).to(device)


def estimate(trainer: "Trainer") -> Estimate:
    """Estimate a run with everything training, from one and two images of noise. Nothing is changed."""
    config, model = trainer.config, trainer.model
    set_phase(model.grounder, blocks_train=True)
    generator = torch.Generator().manual_seed(0)
    first, images = (_noise(config.data, model.image_encoder, count, trainer.device) for count in (1, 2))
    texts = torch.randn(config.data.batch_size, model.image_encoder.embed_dim, generator=generator)
    texts = texts.to(trainer.device)
    _measure(trainer.summarizer, first, texts)  # the first run allocates
    one, _ = _measure(trainer.summarizer, first, texts)
    two, seconds = _measure(trainer.summarizer, images, texts)
    trainer.optimizer.zero_grad()
    trained = list(trainer.parameters.values())
    trained_bytes, everything = _bytes(trained), list(model.parameters())
    part = trainer.share.part
    # With several parts, every part is also run once without gradient: a third of a step more.
    step_s = seconds / 2 * trainer.share.own * (4 / 3 if trainer.share.num_parts > 1 else 1)
    return Estimate(
        num_trained=sum(p.numel() for p in trained),
        num_frozen=sum(p.numel() for p in everything) - sum(p.numel() for p in trained),
        weights_bytes=_bytes(everything),
        update_bytes=trained_bytes * (4 if trainer.average is not None else 3),
        image_bytes=two - one,
        activation_bytes=one + (part - 1) * (two - one),
        step_s=step_s,
        total_h=step_s * (config.steps - trainer.step) / 3600,
    )


__all__ = ["Estimate", "estimate"]
