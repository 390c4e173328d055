"""What a run reads: its sources opened, and this process's parts of every batch."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from tcl_core.data.augment import build_augmentation
from tcl_core.data.batches import Order, Part, PartSampler, Samples, load_parts
from tcl_core.data.features import FeatureStore, describe, encode_samples
from tcl_core.data.samples import Source
from tcl_core.data.shards import joined_problems
from tcl_core.data.sources import Concatenated, open_sources
from tcl_core.data.thesaurus import Rephrased, Thesaurus
from tcl_core.data.wordnet import WordNet
from tcl_core.errors import ConfigError, DataError
from tcl_core.load.fingerprint import fingerprint
from tcl_core.model import TCL
from tcl_core.train.gather import Gather
from tcl_core.train.recipe import TrainConfig
from tcl_core.train.trainer import Trainer, plain_config

# Settings of the data that the features of its samples, and the pictures beside them, depend on.
FEATURE_SETTINGS = {"sources", "image_size", "augmentation", "rephrase", "reencode_size"}


def open_data(config: TrainConfig, gather: Gather, console: Console) -> Concatenated:
    """Open the sources and report what was passed over in them.

    Raises:
        DataError: nothing to train on, or too much passed over.
    """
    index = Path(config.output) / "index"
    if gather.rank:  # the first process scans shards, the others read what it found
        gather.any(False)
    source = open_sources(config.data.sources, config.seed, index)
    if not gather.rank:
        gather.any(False)
    bad = sum(problem.num_samples for problem in source.problems)
    if bad:
        console.print(f"passed over: {joined_problems(source.problems)}", style="yellow", markup=False)
    if bad > config.data.most_bad * (bad + len(source)):
        raise DataError(
            f"about {bad} of {bad + len(source)} samples cannot be used, more than {config.data.most_bad:.1%} "
            f"(data.most_bad): {joined_problems(source.problems)}"
        )
    return source


def parts_from(config: TrainConfig, trainer: Trainer, source: Concatenated) -> Iterator[Part]:
    """Read this process's parts from the trainer's step on."""
    data = config.data
    transform = build_augmentation(data.augmentation, trainer.model.preprocess, data.image_size)
    order = Order(source.groups, config.seed, data.window)
    sampler = PartSampler(order, trainer.share, trainer.step, config.steps)
    samples = Samples(_rephrased(source, config), transform, config.seed)
    read = encoded(samples, config, trainer.model, trainer.gather) if data.features else samples
    return iter(load_parts(read, sampler, data.num_workers, pin=trainer.device.type == "cuda"))


def encoded(samples: Samples, config: TrainConfig, model: TCL, gather: Gather) -> FeatureStore:
    """Open the stored features of samples; the first process computes what is missing, the others wait.

    Raises:
        DataError: the directory holds other features, or samples cannot be used.
    """
    depends = {name: value for name, value in plain_config(config)["data"].items() if name in FEATURE_SETTINGS}
    depends |= {"preprocess": asdict(model.preprocess), "num_blocks": config.model.num_blocks}
    made_of = describe(fingerprint([model.image_encoder, model.text_encoder]), depends, config.seed)
    directory, size = Path(config.data.features), config.data.reencode_size
    if gather.rank == 0:
        encode_samples(samples, model.image_encoder.frozen(), directory, made_of, model.preprocess, size)
    gather.any(False)
    return FeatureStore(directory, model.preprocess, with_pictures=config.losses.tcl_v > 0)


def _rephrased(source: Source, config: TrainConfig) -> Source:
    data = config.data
    if not data.rephrase:
        return source
    if not data.phrases:
        raise ConfigError("data.rephrase is on and data.phrases is off: set data.phrases=true, or data.rephrase=0")
    return Rephrased(source, Thesaurus(WordNet(data.wordnet)), data.rephrase, config.seed)
