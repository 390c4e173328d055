"""Two training steps of which rank 0 writes losses and gradients; started by torchrun, or alone.

The second step is in the second phase, when the blocks train too.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tcl_core.data.batches import Part
from tcl_core.train.__main__ import processes
from tcl_core.train.losses import LossWeights
from tcl_core.train.recipe import DataConfig, OptimizerConfig, TrainConfig
from tcl_core.train.schedule import LearningRate
from tcl_core.train.toy import build_toy, scene_images
from tcl_core.train.trainer import Trainer

BATCH = 8


def main(output: Path, part_size: int, phrases: bool) -> None:
    torch.set_num_threads(1)
    device = torch.device("cpu")
    with processes(device) as gather:
        config = TrainConfig(
            output=str(output),
            data=DataConfig(image_size=64, batch_size=BATCH, part_size=part_size, phrases=phrases),
            optimizer=OptimizerConfig(
                learning_rate=LearningRate(1e-2, 1e-2, reference_batch=0, warmup_steps=0), clip_norm=1e9
            ),
            losses=LossWeights(contrastive=0.1, region=0.1 * phrases),
            steps=2,
            blocks_from_step=1,
        )
        trainer = Trainer(config, build_toy(steps=0, num_stages=1), gather, device)
        images, captions = scene_images(range(2 * BATCH))
        recorded = {}
        for step in range(2):
            own = range(step * BATCH + gather.rank * trainer.share.own, 2 * BATCH)[: trainer.share.own]
            starts = range(own.start, own.stop, part_size)
            parts = [Part(images[s : s + part_size], captions[s : s + part_size], []) for s in starts]
            result = trainer.train_step(parts)
            recorded |= {f"{step}/loss/{name}": torch.tensor(value) for name, value in result.weighted.items()}
            for name, parameter in trainer.parameters.items():
                if parameter.grad is not None:
                    recorded[f"{step}/{name}"] = parameter.grad.clone()
        if gather.rank == 0:
            save_file(recorded, output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "phrases")
