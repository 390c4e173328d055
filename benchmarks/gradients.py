"""How much of a loss's gradient is signal: do batches that share no picture pull the grounder the same way?

    python benchmarks/gradients.py configs/tiny.yaml RUN/model [--batches 6] [key=value ...]

RUN/model is what a training with open gates left behind; with shut gates nothing but the gates has a gradient. For each
loss alone, the cosine between its gradients of every two of the batches, over the weights of the decoder. Where
gradients are a common part S and independent noise N, the cosine tends to S^2 / (S^2 + N^2): near 0, a step at this
batch size follows the batch and not the data. With the features that training left behind, the paper's batch,
data.batch_size=1024 data.part_size=32, takes about half an hour on one core.
"""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from tcl_core.data.augment import build_augmentation
from tcl_core.data.batches import Order, Part, Samples, collate
from tcl_core.data.phrases import noun_phrases
from tcl_core.data.sources import open_sources
from tcl_core.load.hub import import_model
from tcl_core.model import TCL
from tcl_core.train.__main__ import read_config
from tcl_core.train.allocator import keep_freed_memory
from tcl_core.train.gather import SingleProcess
from tcl_core.train.loading import encoded
from tcl_core.train.losses import LossWeights, Temperatures
from tcl_core.train.objective import GumbelMasks, Objective, Summarizer, backward
from tcl_core.train.pairing import Pairing, near_texts, pair
from tcl_core.train.recipe import TrainConfig

OFF = LossWeights(tcl_v=1.0, tcl_f=0.0, region=0.0, area=0.0, tv=0.0, contrastive=0.0)
LOSSES = {
    "TCL_v": OFF,
    "TCL_f": replace(OFF, tcl_v=0.0, tcl_f=1.0),
    "region": replace(OFF, tcl_v=0.0, region=1.0),
    "contrast": replace(OFF, tcl_v=0.0, contrastive=1.0),
}


def batches(config: TrainConfig, model: TCL, count: int) -> list[list[Part]]:
    """Read batches, each in parts, no sample twice; from `data.features` if that was made for this and has pictures."""
    data = config.data
    source = open_sources(data.sources, config.seed, None)
    transform = build_augmentation(data.augmentation, model.preprocess, data.image_size)
    samples = Samples(source, transform, config.seed)
    stored = data.features and data.reencode_size and config.losses.tcl_v  # else pictures are not read
    read = encoded(samples, config, model, SingleProcess()) if stored else samples
    places = itertools.islice(Order(source.groups, config.seed).positions(0), count * data.batch_size)
    items = [read[place] for place in track(list(places), description="pictures")]
    parts = [collate(items[start : start + data.part_size]) for start in range(0, len(items), data.part_size)]
    each = data.batch_size // data.part_size
    return [parts[start : start + each] for start in range(0, len(parts), each)]


def gradient(model: TCL, config: TrainConfig, weights: LossWeights, parts: list[Part], step: int) -> Tensor:
    """Differentiate one loss of one batch with respect to the decoder's weights: (P,)."""
    captions = [caption for part in parts for caption in part.captions]
    texts, own, chosen = pair([noun_phrases(caption) for caption in captions], step)
    with torch.no_grad():
        embeddings = model.encode_text(model.text_encoder.tokenize(texts)).float()
    pairing = Pairing(own, chosen, near_texts(embeddings, config.data.near))
    objective = Objective(weights, Temperatures(weights), config.area_prior, SingleProcess())
    model.grounder.zero_grad()
    images = [part.images for part in parts]
    backward(Summarizer(model, weights), objective, images, embeddings, GumbelMasks(0, step), pairing=pairing)
    decoder = model.grounder.decoder
    assert decoder is not None
    matrices = [parameter for parameter in decoder.parameters() if parameter.ndim > 1]
    return torch.cat([p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in matrices])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("model", type=Path)
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("settings", nargs="*")
    given = parser.parse_intermixed_args()
    keep_freed_memory()
    config = read_config([given.config, *given.settings])
    model = import_model(given.model)
    model.grounder.requires_grad_(True)
    read = batches(config, model, given.batches)
    table = Table("loss", "mean cosine", "range", title=f"{given.batches} batches of {config.data.batch_size}")
    for name, weights in LOSSES.items():
        gradients = [
            gradient(model, config, weights, parts, step) for step, parts in enumerate(track(read, description=name))
        ]
        cosines = torch.stack([F.cosine_similarity(a, b, dim=0) for a, b in itertools.combinations(gradients, 2)])
        table.add_row(name, f"{cosines.mean():.3f}", f"{cosines.min():.3f} to {cosines.max():.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
