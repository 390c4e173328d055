"""Train TCL: `python -m tcl_core.train CONFIG.yaml`."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist
import typer
import yaml
from rich.console import Console

from tcl_core.atomic_file import write_atomically
from tcl_core.commands import STOPPED, Command, console, counting, new_app
from tcl_core.config import load_config
from tcl_core.errors import ConfigError
from tcl_core.load.build import load_towers, with_grounder
from tcl_core.load.choice import TRAINED_CONFIG
from tcl_core.model import TCL
from tcl_core.train.allocator import keep_freed_memory
from tcl_core.train.checkpoint import read_checkpoint
from tcl_core.train.estimate import estimate
from tcl_core.train.gather import Gather, ProcessGroup, SingleProcess
from tcl_core.train.hub import export_model
from tcl_core.train.journal import journal
from tcl_core.train.loading import open_data, parts_from
from tcl_core.train.recipe import TrainConfig
from tcl_core.train.toy import pretrain
from tcl_core.train.trainer import BEST, LAST, Trainer, plain_config, refuse_other_settings, share_of
from tcl_core.train.validation import build_validator

app = new_app()

SECONDS_TO_TELL = 10.0

EPILOG = """
[bold]Examples[/bold]

python -m tcl_core.train configs/toy.yaml

python -m tcl_core.train configs/toy.yaml steps=2000 losses.tcl_v=0.05 output=out/longer

python -m tcl_core.train configs/toy.yaml --resume   (goes on from the last checkpoint in the output)

python -m tcl_core.train configs/tcl_vitb16.yaml configs/ablations/E.yaml --dry-run   (one file over another)

torchrun --nproc-per-node 8 -m tcl_core.train configs/tcl_vitb16.yaml
"""


def read_config(arguments: Sequence[str]) -> TrainConfig:
    """Read settings from files and `key=value` arguments; later ones override earlier ones.

    Raises:
        ConfigError: no file, or what `load_config` refuses.
    """
    files = [argument for argument in arguments if "=" not in argument]
    if not files:
        raise ConfigError("no configuration: expected a YAML file, such as configs/toy.yaml")
    overrides: list[str] = []
    for path in files[1:]:
        try:
            overlay = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        overrides += _flattened(overlay or {})
    overrides += [argument for argument in arguments if "=" in argument]
    return load_config(TrainConfig, files[0], overrides)


def _flattened(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Write nested settings as `a.b=value`, the value as JSON, which YAML reads."""
    flat: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict) and "kind" not in value:
            flat += _flattened(value, f"{prefix}{name}.")
        else:
            flat.append(f"{prefix}{name}={json.dumps(value)}")
    return flat


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[Gather]:
    """Join the processes that torchrun started, if it did."""
    if "RANK" not in os.environ:
        yield SingleProcess()
        return
    # The first process may encode features for hours before the others hear of it.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=24))
    try:
        yield ProcessGroup()
        # All leave together, when the first has written the model. gloo's threads still give back the tensors of the
        # last exchange, for which they need the interpreter: a process that ended meanwhile would be aborted.
        dist.barrier()
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def one_process_tells() -> Iterator[None]:
    """Leave mistakes in settings, which all processes find, to the first of this machine.

    torchrun ends the others as soon as one has failed; whoever failed before the first would keep it from telling.
    """
    try:
        yield
    except ConfigError:
        if int(os.environ.get("LOCAL_RANK", "0")):
            time.sleep(SECONDS_TO_TELL)  # by then this process has been ended, unless it alone has found a mistake
        raise


def pick_device(name: str) -> torch.device:
    """Turn "auto", "cpu" or "cuda" into this process's device.

    Raises:
        ConfigError: CUDA was asked for and is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda and there is no usable GPU: set device=cpu, or device=auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def check_output(config: TrainConfig, resume: bool) -> Path | None:
    """Find the checkpoint to go on from.

    Raises:
        ConfigError: there is a run in the output that would be overwritten, or one with other settings.
        CheckpointError: it is damaged, or none.
    """
    last = Path(config.output) / LAST
    if not last.is_file():
        return None
    if not resume:
        raise ConfigError(f"{last} holds a run: add --resume to go on with it, or choose another output")
    refuse_other_settings(last, read_checkpoint(last, tensors=False).state, config)
    return last


def is_finished(config: TrainConfig) -> bool:
    """Tell whether the output's run has made all its steps.

    Raises:
        ConfigError: it has other settings.
        CheckpointError: its checkpoint is damaged, or none.
    """
    last = check_output(config, resume=True)
    return last is not None and read_checkpoint(last, tensors=False).state["step"] >= config.steps


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM, which cluster schedulers send before they kill, into a question to ask between steps."""
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGTERM, before)


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    dry_run: bool = False,
    console: Console | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TCL:
    """Run a training.

    Args:
        config: settings.
        resume: go on from the output's last checkpoint, if there is one.
        dry_run: stop before the first step; a run in the output is not looked at.
        console: for reports.
        stop: asked after every step; then the state is saved and the run ends.

    Returns:
        The model as trained so far; with averaged weights, if they are kept.

    Raises:
        ConfigError: settings or data that cannot be trained with.
        DataError: too many samples are bad.
        CheckpointError: a checkpoint that cannot be read or written.
        WriteError: another file that cannot be written.
        TrainingError: a loss is not finite.
    """
    device = pick_device(config.device)
    with processes(device) as gather:
        console = console or Console(stderr=True, quiet=gather.rank > 0)
        share_of(config, gather)
        checkpoint = None if dry_run else check_output(config, resume)
        source = open_data(config, gather, console)
        towers_trained = not dry_run  # an estimate does not depend on what they see
        trainer = Trainer(config, starting_model(config, console, towers_trained), gather, device)
        console.print(f"{len(source):,} samples; {estimate(trainer)}", markup=False)
        if dry_run:
            return trainer.model
        if checkpoint:
            trainer.resume(checkpoint)
            console.print(f"going on after step {trainer.step}", markup=False)
        validator = build_validator(config.validation, config.data.image_size) if config.validation else None
        _write_config(config, gather)
        with journal(config, trainer, console) as diary:
            parts = parts_from(config, trainer, source)
            if diary:
                trainer.run(parts, validator, diary.step, diary.validation, stop)
            else:
                trainer.run(parts, validator, stop=stop)
        _finish(trainer, console)
    return trainer.evaluated


def starting_model(config: TrainConfig, console: Console, towers_trained: bool = True) -> TCL:
    """Make what is trained: towers, and the grounder to begin with. The toy's towers are trained first, if wanted."""
    towers = load_towers(config.model, config.seed)
    if config.model.encoder == "toy" and towers_trained:
        with counting(shown_on=console) as bars:
            task = bars.add_task("a toy CLIP first", total=config.model.toy_steps)
            pretrain(towers, config.model.toy_steps, config.seed, progress=lambda n, _: bars.update(task, completed=n))
    return with_grounder(config.model, towers, config.seed)


def _write_config(config: TrainConfig, gather: Gather) -> None:
    if gather.rank == 0:
        text = json.dumps(plain_config(config), indent=1) + "\n"
        write_atomically(Path(config.output) / "config.json", text.encode())


def _finish(trainer: Trainer, console: Console) -> None:
    if trainer.report.num_bad:
        console.print(str(trainer.report), style="yellow", markup=False)
    if trainer.step < trainer.config.steps:
        console.print(f"stopped after step {trainer.step}; --resume goes on", markup=False)
    elif trainer.gather.rank == 0:
        output = Path(trainer.config.output)
        _write_model(output)
        console.print(f"model in {output / 'model'}", markup=False)


def _write_model(output: Path) -> None:
    best = output / BEST
    export_model(best if best.is_file() else output / LAST, output / "model")


def tell_finished(config: TrainConfig, console: Console) -> None:
    """Say that nothing is left to train; a run that was killed after its last step gets its model now."""
    output = Path(config.output)
    if not (output / "model" / TRAINED_CONFIG).is_file():
        _write_model(output)
    console.print(
        f"{output} is finished ({config.steps} of {config.steps} steps): model in {output / 'model'}. To train longer, "
        f"begin anew with steps={2 * config.steps} output={output}-longer: the learning rate follows the steps",
        markup=False,
        soft_wrap=True,
    )


@app.command(cls=Command, epilog=EPILOG, no_args_is_help=True)
def main(
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="CONFIG.yaml|KEY=VALUE",
            help="Settings: one file or more, later ones over earlier ones, and single values over all files.",
            show_default=False,
        ),
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in the output, if there is one.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the data, estimate memory and time, and stop.")
    ] = False,
) -> None:
    """Train TCL on image-text pairs, on one process or as many as torchrun starts; SIGTERM saves and ends."""
    keep_freed_memory()
    with one_process_tells(), stop_requests() as asked:
        config = read_config(settings)
        if resume and not dry_run and is_finished(config):
            if os.environ.get("RANK", "0") == "0":
                tell_finished(config, console)
            return
        train(config, resume=resume, dry_run=dry_run, stop=asked)
        stopped = asked()
    if stopped:
        raise typer.Exit(STOPPED + signal.SIGTERM)


if __name__ == "__main__":
    app()
