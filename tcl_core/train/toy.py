"""How the toy's towers learn: whole scenes against their captions, as CLIP was trained."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tcl_core.data.scenes import draw_scene
from tcl_core.load.build import ModelConfig, with_grounder
from tcl_core.load.toy import IMAGE_SIZE, PREPROCESS, untrained_toy
from tcl_core.model import TCL
from tcl_core.train.gather import SingleProcess
from tcl_core.train.losses import INITIAL_LOG_SCALE, cosines, info_nce


def scene_images(seeds: range | list[int], size: int = IMAGE_SIZE) -> tuple[Tensor, list[str]]:
    """Draw scenes: normalised images (B,3,H,W) and their captions."""
    scenes = [draw_scene(seed, size) for seed in seeds]
    images = torch.stack([torch.from_numpy(scene.rgb) for scene in scenes]).permute(0, 3, 1, 2) / 255
    return (images - PREPROCESS.mean[0]) / PREPROCESS.std[0], [scene.caption for scene in scenes]


def pretrain(
    model: TCL, steps: int, seed: int, *, batch: int = 64, progress: Callable[[int, int], None] | None = None
) -> TCL:
    """Contrast whole scenes with captions, as CLIP was trained; both towers are changed in place.

    Args:
        model: with the toy's towers.
        steps: 0 leaves them random.
        seed: of the scenes.
        batch: scenes a step.
        progress: called with (steps done, steps in all).

    Returns:
        The model.
    """
    image_encoder, text_encoder = model.image_encoder, model.text_encoder
    log_scale = nn.Parameter(torch.tensor(INITIAL_LOG_SCALE))
    parameters = [*image_encoder.parameters(), *text_encoder.parameters(), log_scale]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(steps, 1))
    first = 1_000_000 * (seed + 1)  # scenes that neither training nor evaluation draws
    for step in range(steps):
        images, captions = scene_images(range(first + step * batch, first + (step + 1) * batch))
        text = text_encoder(text_encoder.tokenize(captions))
        loss = info_nce(cosines(image_encoder.embed(images), text), log_scale, SingleProcess())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if progress:
            progress(step + 1, steps)
    return model


def build_toy(*, steps: int = 400, batch: int = 64, seed: int = 0, decoder: bool = True, num_stages: int = 1) -> TCL:
    """Make a TCL on a pretrained toy CLIP, with an untrained grounder, in evaluation mode.

    Args:
        steps: of the pretraining; 0 leaves random encoders.
        batch: of the pretraining.
        seed: of the weights and scenes.
        decoder: give the grounder one.
        num_stages: of the decoder; each doubles the resolution of the masks.
    """
    towers = pretrain(untrained_toy(seed), steps, seed, batch=batch)
    settings = ModelConfig(encoder="toy", decoder=decoder, num_stages=num_stages)
    return with_grounder(settings, towers, seed)


__all__ = ["build_toy", "pretrain", "scene_images"]
