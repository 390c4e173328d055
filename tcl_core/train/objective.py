"""From images and texts to the loss and its gradients: the model run for the losses, in chunks and in parts."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from tcl_core.data.batches import Encoded
from tcl_core.grounder import sample_hard_masks
from tcl_core.model import TCL
from tcl_core.train.gather import Gather
from tcl_core.train.losses import (
    AreaPrior,
    LossWeights,
    Summary,
    Temperatures,
    area_losses,
    cosines,
    info_nce,
    mask_images,
    pool_by_masks,
    pooled_cosines,
    total_variation,
)
from tcl_core.train.pairing import Pairing
from tcl_core.train.phrase_losses import phrase_areas, phrase_nce, region_nce

# (B,h,w) logits and the number of the first one's sample in the batch of the run -> (B,h,w) in {0, 1}
MaskSampler = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class GumbelMasks:
    """Sample hard masks with noise that depends on seed, step and the sample's number alone.

    Neither the number of processes nor the size of the parts therefore changes a run.
    """

    seed: int
    step: int

    def __call__(self, mask_logits: Tensor, first: int) -> Tensor:
        """Sample: (B,h,w), number of the first sample -> (B,h,w) in {0, 1}, straight-through gradient."""
        generator = torch.Generator(mask_logits.device)
        sampled = []
        for offset, logits in enumerate(mask_logits):
            # A generator's neighbouring seeds give unrelated streams; the factors keep the three apart.
            generator.manual_seed((self.seed * 1_000_003 + self.step) * 1_000_003 + first + offset)
            sampled.append(sample_hard_masks(logits, generator=generator))
        return torch.stack(sampled)


def _recomputed(function: Callable[..., Any], *arguments: Tensor) -> Any:
    """Call without keeping intermediate results; they are computed again for the gradient."""
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)


class Summarizer(nn.Module):
    """A TCL as the losses see it, and what DistributedDataParallel wraps.

    Args:
        model: its grounder is trained; both encoders are frozen here.
        weights: which terms are wanted.
        chunk: texts whose masks exist at the same time. None means all, kept for the gradient: B*N masks. With a
            number, masks are computed again for the gradient, and memory does not grow with B*N maps.
        recompute: compute decoder and re-encoding again for the gradient instead of keeping them.
        autocast: precision of encoder and decoder; masks and cosines stay in float32.
    """

    def __init__(
        self,
        model: TCL,
        weights: LossWeights,
        *,
        chunk: int | None = None,
        recompute: bool = False,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk is {chunk}: expected 1 text or more, or none for all at once")
        self.model = model
        self.weights = weights
        self.chunk = chunk
        self.recompute = recompute
        self.autocast = autocast
        self.reencoder = model.image_encoder.frozen() if weights.tcl_v else model.image_encoder
        model.image_encoder.requires_grad_(False)
        model.text_encoder.requires_grad_(False)
        if not weights.need_masks:
            # No mask enters the loss, and a parameter without a gradient would stop DistributedDataParallel.
            model.grounder.similarity_to_mask.requires_grad_(False)

    def forward(
        self,
        images: Tensor | Encoded,
        text_embeddings: Tensor,
        first: int,
        sample: MaskSampler,
        pairing: Pairing | None = None,
    ) -> Summary:
        """Summarise images against all texts of the run.

        Args:
            images: (B,3,H,W), normalised, or their stored features.
            text_embeddings: (N,C), raw; the text of image i is number first + i.
            first: see `text_embeddings`.
            sample: makes hard masks for TCL_v.
            pairing: of these images, if they own several texts; otherwise image i owns text first + i.

        Raises:
            ValueError: TCL_v is on, and the images come as features alone.
        """
        weights = self.weights
        if isinstance(images, Encoded):
            features, pictures = images.features, images.images
        else:
            features, pictures = self._run(self.model.image_encoder.features, images), images
        dense = self._run(self.model.ground, features).float()
        parts: dict[str, Tensor] = {}
        if weights.tcl_f or weights.area or weights.tv:
            parts |= self._against_all_texts(dense, text_embeddings)
        if weights.tcl_v:
            own = text_embeddings[first : first + len(images)] if pairing is None else text_embeddings[pairing.chosen]
            masks = sample(self._own_logits(dense, own), first)
            if pictures is None:
                raise ValueError("TCL_v masks and encodes images again: expected images beside their features")
            masked = mask_images(pictures, masks).contiguous(memory_format=torch.channels_last)  # faster on CPUs
            embeddings = self._run(self.reencoder.embed, masked)
            parts["masked_cosines"] = cosines(embeddings.float(), text_embeddings)
        if weights.contrastive:
            parts["image_cosines"] = cosines(dense.mean(dim=(2, 3)), text_embeddings)
        if weights.tv:
            parts["embedding_variation"] = total_variation(dense).mean(dim=1)
        if weights.region and pairing is not None:
            parts["region_cosines"] = self._regions(dense, text_embeddings, pairing)
        return Summary(**parts)

    def _run(self, function: Callable[[Tensor], Tensor], argument: Tensor) -> Tensor:
        with torch.autocast(argument.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            result: Tensor = _recomputed(function, argument) if self.recompute else function(argument)
        return result

    def _logits(self, dense: Tensor, text_embeddings: Tensor) -> Tensor:
        return self.model.grounder.similarity_to_mask.logits(dense, text_embeddings)

    def _own_logits(self, dense: Tensor, own_texts: Tensor) -> Tensor:
        # One image at a time: the grounder compares all with all, which would be B*B maps.
        pairs = zip(dense, own_texts, strict=True)
        return torch.stack([self._logits(image[None], text[None])[0, 0] for image, text in pairs])  # (B,h,w)

    def _regions(self, dense: Tensor, text_embeddings: Tensor, pairing: Pairing) -> Tensor:
        own_texts = text_embeddings[pairing.own.clamp(min=0)]  # (B,P,C); padding counts nowhere
        masks = [self._logits(image[None], texts)[0].sigmoid() for image, texts in zip(dense, own_texts, strict=True)]
        return cosines(pool_by_masks(dense, torch.stack(masks)), text_embeddings)  # (B,P,N)

    def _against_all_texts(self, dense: Tensor, text_embeddings: Tensor) -> dict[str, Tensor]:
        if self.chunk is None:
            blocks = [self._against(dense, text_embeddings)]
        else:
            blocks = [_recomputed(self._against, dense, texts) for texts in torch.split(text_embeddings, self.chunk)]
        parts = {name: torch.cat([block[name] for block in blocks], dim=1) for name in blocks[0]}
        if self.weights.tv:
            parts["mask_variation"] = parts.pop("mask_variation").mean(dim=1)  # (B,N) -> (B,)
        return parts

    def _against(self, dense: Tensor, text_embeddings: Tensor) -> dict[str, Tensor]:
        masks = self._logits(dense, text_embeddings).sigmoid()  # (B,n,h,w)
        block: dict[str, Tensor] = {}
        if self.weights.area:
            block["areas"] = masks.mean(dim=(2, 3))
        if self.weights.tv:
            block["mask_variation"] = total_variation(masks)
        if self.weights.tcl_f:
            block["feature_cosines"] = pooled_cosines(pool_by_masks(dense, masks), text_embeddings)
        return block


@dataclass(frozen=True, eq=False)
class Term:
    """One term of the loss: its name in the log, its weight, and its value before it is weighted, a scalar."""

    name: str
    weight: float
    value: Tensor

    @property
    def weighted(self) -> Tensor:
        """What is added to the loss."""
        return self.weight * self.value


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of a run, a weighted sum (paper, section 3.3): every term is named, weighted and computed here."""

    weights: LossWeights
    temperatures: Temperatures
    prior: AreaPrior
    gather: Gather

    def __call__(self, summary: Summary, pairing: Pairing | None = None) -> list[Term]:
        """Compute the terms whose weight is not 0, in float32.

        Args:
            summary: of this process's images.
            pairing: of all images of the run, if they own several texts; otherwise image i of the run owns text i.

        Returns:
            The terms of this process's images; with a pairing, of the whole batch.

        Raises:
            ValueError: the region term is on, and there is no pairing.
        """
        weights, scales = self.weights, self.temperatures
        known = {name: tensor.float() for name, tensor in summary.tensors().items()}
        if pairing is None:
            contrast = contrast_masked = partial(info_nce, gather=self.gather)
            compare_areas = partial(area_losses, prior=self.prior, gather=self.gather)
        else:
            # Texts belong to several images, so that every process computes the loss of the whole batch.
            known = {name: self.gather.all(tensor) for name, tensor in known.items()}
            contrast = partial(phrase_nce, pairing=pairing)
            # An image under one mask shows that thing alone.
            contrast_masked = partial(phrase_nce, pairing=pairing.chosen_alone())
            compare_areas = partial(phrase_areas, prior=self.prior, pairing=pairing)

        terms: list[Term] = []
        if weights.tcl_v:
            terms.append(Term("tcl_v", weights.tcl_v, contrast_masked(known["masked_cosines"], scales.tcl_v)))
        if weights.tcl_f:
            terms.append(Term("tcl_f", weights.tcl_f, contrast(known["feature_cosines"], scales.tcl_f)))
        if weights.contrastive:
            terms.append(Term("contrastive", weights.contrastive, contrast(known["image_cosines"], scales.contrastive)))
        if weights.area:
            own, others = compare_areas(known["areas"])
            terms.append(Term("area_positive", weights.area, own))
            terms.append(Term("area_negative", weights.area, others))
        if weights.tv:
            terms.append(Term("tv_embeddings", weights.tv, known["embedding_variation"].mean()))
            terms.append(Term("tv_masks", weights.tv, known["mask_variation"].mean()))
        if weights.region:
            if pairing is None:
                raise ValueError("the region term contrasts phrases of one image: expected a pairing")
            terms.append(Term("region", weights.region, region_nce(known["region_cosines"], scales.region, pairing)))
        return terms


def _joined(summaries: Sequence[Summary]) -> Summary:
    names = summaries[0].tensors()
    return Summary(**{name: torch.cat([summary.tensors()[name] for summary in summaries]) for name in names})


def _unsynchronised(summarize: nn.Module) -> Any:
    return summarize.no_sync() if isinstance(summarize, DistributedDataParallel) else contextlib.nullcontext()


def backward(
    summarize: nn.Module,
    objective: Objective,
    parts: Sequence[Tensor | Encoded],
    text_embeddings: Tensor,
    sample: MaskSampler,
    *,
    scale: Callable[[Tensor], Tensor] | None = None,
    pairing: Pairing | None = None,
) -> list[Term]:
    """Compute the loss of a batch and add its gradient to every trained parameter.

    With several parts, every image still meets all texts and every text all images: the parts are summarised without
    gradient, the loss of the whole batch is differentiated with respect to the summaries, and each part is run again
    to carry that on. This costs one more forward pass and gives the gradient of the undivided batch.

    Args:
        summarize: a `Summarizer`, or DistributedDataParallel around one.
        objective: summaries -> losses.
        parts: images (B_k,3,H,W), normalised, or their stored features, in order.
        text_embeddings: (N,C), raw, of all images of all processes, by rank and in the order of the parts.
        sample: makes hard masks for TCL_v; called twice for the same images, it has to return the same.
        scale: applied to the loss before it is differentiated (`GradScaler.scale`).
        pairing: of all images of all processes, if they own several texts.

    Returns:
        The terms of the loss, averaged over the processes, detached.
    """
    firsts = [objective.gather.rank * sum(map(len, parts))]
    for part in parts[:-1]:
        firsts.append(firsts[-1] + len(part))

    def run(number: int) -> Summary:
        first, part = firsts[number], parts[number]
        own = pairing.part(first, first + len(part)) if pairing is not None else None
        summary: Summary = summarize(part, text_embeddings, first, sample, own)
        return summary

    if len(parts) == 1:
        terms = _differentiate(objective, run(0), scale, pairing)
    else:
        with torch.no_grad():
            whole = _joined([run(number) for number in range(len(parts))])
        for tensor in whole.tensors().values():
            tensor.requires_grad_()
        terms = _differentiate(objective, whole, scale, pairing)
        gradients = {name: tensor.grad for name, tensor in whole.tensors().items()}
        _carry_on(summarize, run, [len(part) for part in parts], gradients)
    objective.gather.average_gradients(list(objective.temperatures.parameters()))
    return [replace(term, value=objective.gather.mean(term.value.detach())) for term in terms]


def _differentiate(
    objective: Objective, summary: Summary, scale: Callable[[Tensor], Tensor] | None, pairing: Pairing | None
) -> list[Term]:
    terms = objective(summary, pairing)
    loss = torch.stack([term.weighted for term in terms]).sum()
    (scale(loss) if scale else loss).backward()  # type: ignore[no-untyped-call]
    return terms


def _carry_on(
    summarize: nn.Module, run: Callable[[int], Summary], sizes: Sequence[int], gradients: dict[str, Tensor | None]
) -> None:
    start = 0
    for number, size in enumerate(sizes):
        last = number == len(sizes) - 1
        with contextlib.nullcontext() if last else _unsynchronised(summarize):
            tensors = run(number).tensors()
            products = [
                (tensor * gradient[start : start + size]).sum()
                for name, tensor in tensors.items()
                if (gradient := gradients[name]) is not None
            ]
            torch.stack(products).sum().backward()  # type: ignore[no-untyped-call]
        start += size


__all__ = ["GumbelMasks", "MaskSampler", "Objective", "Summarizer", "Term", "backward"]
