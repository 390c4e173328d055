"""The training command. Oracles: an undisturbed run, bit for bit; the files it leaves; what it says of mistakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
import typer
import webdataset
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file

from tcl_core.data.scenes import Scenes
from tcl_core.data.sources import open_sources
from tcl_core.errors import CheckpointError, ConfigError
from tcl_core.evaluate.metrics import confusion_of, mean_iou
from tcl_core.grounder import similarity
from tcl_core.load.build import build_model
from tcl_core.load.hub import import_model
from tcl_core.train.__main__ import app, read_config, train
from tcl_core.train.checkpoint import read_checkpoint
from tcl_core.train.estimate import estimate
from tcl_core.train.gather import SingleProcess
from tcl_core.train.hub import app as hub
from tcl_core.train.recipe import TrainConfig
from tcl_core.train.toy import scene_images
from tcl_core.train.trainer import Trainer, plain_config

ROOT = Path(__file__).parents[3]
Limit = Callable[[int], AbstractContextManager[None]]
TOY = str(ROOT / "configs" / "toy.yaml")
# Random encoders: what is tested here does not depend on whether they see anything.
SMALL = ("model.toy_steps=0", "data.batch_size=8", "data.part_size=8", "validation=null", "tensorboard=false")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The order of additions, and so the last bit, depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings(output: Path, *overrides: str) -> list[str]:
    return [TOY, *SMALL, f"output={output}", *overrides]


def status(command: typer.Typer, *arguments: str | Path) -> int:
    """Run a command and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        command([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def run(output: Path, *overrides: str, flags: tuple[str, ...] = ()) -> int:
    return status(app, *settings(output, *overrides), *flags)


def start(output: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tcl_core.train", *settings(output, *overrides)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str], at_least: int) -> int:
    """Wait for a checkpoint of some step; returns the step."""
    for _ in range(1200):
        if path.is_file() and (step := read_checkpoint(path).state["step"]) >= at_least:
            return step
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError("no checkpoint within a minute")


def same_tensors(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """SIGKILL at an unknown moment, through the change of phase, with running means of the weights."""
    options = ("steps=30", "save_every=1", "blocks_from_step=15", "optimizer.ema=0.9", "data.augmentation=recipe")
    process = start(tmp_path / "killed", *options)
    step = wait_for(tmp_path / "killed" / "last.safetensors", process, 5)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert step < 30
    assert run(tmp_path / "killed", *options, flags=("--resume",)) == 0
    assert run(tmp_path / "whole", *options) == 0
    assert same_tensors(tmp_path / "killed" / "last.safetensors", tmp_path / "whole" / "last.safetensors")


@pytest.mark.slow
def test_a_terminated_run_saves_and_says_so(tmp_path: Path) -> None:
    """SIGTERM, as cluster schedulers send it."""
    process = start(tmp_path, "steps=5000", "save_every=2")
    wait_for(tmp_path / "last.safetensors", process, 2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    step = read_checkpoint(tmp_path / "last.safetensors").state["step"]
    assert f"stopped after step {step}; --resume goes on" in said


def test_parts_do_not_change_a_run(tmp_path: Path) -> None:
    """Identity: four steps in one part or in four, noise and augmentation included; weights to 1e-4.

    Adam divides by the size of the gradient, so that rounding in tiny gradients is visible in the weights.
    """
    assert run(tmp_path / "one", "steps=4", "data.part_size=8") == 0
    assert run(tmp_path / "four", "steps=4", "data.part_size=2") == 0
    one, four = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "four"))
    weights = [name for name in one if name.startswith(("grounder.", "temperatures."))]
    assert weights
    for name in weights:
        torch.testing.assert_close(four[name], one[name], atol=1e-4, rtol=1e-3)


def test_a_run_leaves_logs_checkpoints_and_a_model(tmp_path: Path) -> None:
    validation = "validation={kind: scenes, count: 4}"
    assert run(tmp_path, "steps=4", "validate_every=2", "log_every=2", "tensorboard=true", validation) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "miou" in line] == [2, 4]
    logged = next(line for line in lines if "loss" in line)
    terms = {"tcl_v", "tcl_f", "area_positive", "area_negative", "tv_embeddings", "tv_masks"}
    assert logged["loss"] == pytest.approx(sum(logged[term] for term in terms))
    best = max(line["miou"] for line in lines if "miou" in line)
    assert read_checkpoint(tmp_path / "best.safetensors").state["best_iou"] == best
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 4

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert "masks of captions" in "".join(events.Tags()["images"])
    assert [event.step for event in events.Scalars("miou")] == [2, 4]


def test_an_exported_model_is_the_trained_one(tmp_path: Path) -> None:
    """Round trip through the hub's layout: masks equal bit for bit; with a running mean, it is the mean."""
    trained = train(read_config(settings(tmp_path, "steps=3", "optimizer.ema=0.5")))
    loaded = import_model(tmp_path / "model")
    images, captions = scene_images(range(2))
    tokens = trained.text_encoder.tokenize(captions)
    with torch.no_grad():
        assert torch.equal(loaded(images, tokens).mask_logits, trained(images, tokens).mask_logits)
    assert {item.name for item in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors"}
    assert status(hub, tmp_path / "last.safetensors", tmp_path / "again") == 0
    assert same_tensors(tmp_path / "again" / "model.safetensors", tmp_path / "model" / "model.safetensors")
    tensors = load_file(tmp_path / "last.safetensors")
    name = "decoder.0.first.conv.weight"
    assert not torch.equal(tensors[f"grounder.{name}"], tensors[f"average.module.{name}"])


def test_an_exported_model_refuses_other_encoders_and_damage(tmp_path: Path) -> None:
    assert run(tmp_path, "steps=1") == 0
    config = tmp_path / "model" / "config.json"
    described = json.loads(config.read_text())
    config.write_text(json.dumps(described | {"encoders_sha256": 64 * "0"}))
    with pytest.raises(CheckpointError, match="was trained on other encoders than toy has"):
        import_model(tmp_path / "model")
    config.write_text(json.dumps(described | {"model": {**described["model"], "decoder": False}}))
    with pytest.raises(CheckpointError, match="does not fit its config.json"):
        import_model(tmp_path / "model")
    config.write_text(json.dumps(described | {"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="expected model_type tcl-edge"):
        import_model(tmp_path / "model")
    config.write_text(json.dumps(described))
    (tmp_path / "model" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="is missing or damaged"):
        import_model(tmp_path / "model")
    with pytest.raises(ConfigError, match="expected a directory that training wrote"):
        import_model(tmp_path / "gone")


def test_weights_of_another_export_are_noticed(tmp_path: Path) -> None:
    """What a process that is killed between its two renames leaves: new weights beside the old config.json."""
    assert run(tmp_path, "steps=1") == 0
    assert run(tmp_path, "steps=2", "output=" + str(tmp_path / "other")) == 0
    shutil.copy(tmp_path / "other" / "model" / "model.safetensors", tmp_path / "model")
    with pytest.raises(CheckpointError, match="is not the one that config.json beside it was written with"):
        import_model(tmp_path / "model")


def test_an_export_that_finds_no_room_leaves_the_one_before(
    tmp_path: Path, files_no_longer_than: Limit, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only files smaller than the weights can be written."""
    assert run(tmp_path, "steps=1") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    with files_no_longer_than(1000):
        assert status(hub, tmp_path / "last.safetensors", tmp_path / "model", "--overwrite") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "model.safetensors cannot be written (File too large): make room" in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_the_export_command_ends_with_the_same_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"short")
    assert status(hub, tmp_path / "gone", tmp_path / "x") == 2
    assert status(hub, tmp_path / "broken.safetensors", tmp_path / "x") == 1
    assert status(hub, tmp_path / "gone") == 2
    said = capsys.readouterr().err
    assert "no checkpoint" in said
    assert "damaged or no checkpoint" in " ".join(said.split())
    assert "Missing argument" in said
    assert not (tmp_path / "x").exists()


def test_a_loss_that_is_not_finite_stops_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A learning rate that blows up the weights for real."""
    status = run(tmp_path, "steps=6", "save_every=1", "optimizer.learning_rate.peak=1.0e+30", "losses.tv=0")
    said = " ".join(capsys.readouterr().err.split())
    assert status == 1
    assert "tcl_f is nan" in said
    assert "Lower optimizer.learning_rate.peak" in said
    saved = read_checkpoint(tmp_path / "last.safetensors")
    assert 0 < saved.state["step"] < 6


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(precision: str, tmp_path: Path) -> None:
    assert run(tmp_path, "steps=2", f"precision={precision}", "recompute=true", "chunk=3") == 0
    tensors = load_file(tmp_path / "last.safetensors")
    assert all(value.isfinite().all() for value in tensors.values())
    assert tensors["grounder.decoder.0.first.conv.weight"].dtype == torch.float32


def test_a_dry_run_estimates_and_writes_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, flags=("--dry-run",)) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "2,000 samples; 0.02 M parameters train" in said
    assert "s a step" in said
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_dry_run_beside_a_run_leaves_it_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a finished run, and of one with other settings: bytes and times of all files are as before."""
    assert run(tmp_path, "steps=1") == 0
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    for overrides in ([], ["losses.tcl_v=0.3"]):
        assert run(tmp_path, "steps=1", *overrides, flags=("--dry-run",)) == 0
        assert "s a step" in " ".join(capsys.readouterr().err.split())
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_a_finished_run_says_so_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No tower is made: there is nothing to make one with. A model that was not written before is written now."""
    assert run(tmp_path, "steps=2") == 0
    model = (tmp_path / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "model")
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tcl_core.train.__main__.load_towers", None)
        assert run(tmp_path, "steps=2", flags=("--resume",)) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert run(tmp_path, "steps=4", flags=("--resume",)) == 2
    assert "is finished (2 of 2 steps): model in" in said
    assert "begin anew with steps=4 output=" in said
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == model
    assert "steps was 2 and is 4" in capsys.readouterr().err


def test_settings_of_the_data_that_are_empty_are_off(tmp_path: Path) -> None:
    """As a shell hands over `data.features=''`; oracle: the defaults."""
    config = read_config([TOY, f"output={tmp_path}", "data.features=", "model.tokenizer=", "validation=", "chunk="])
    assert (config.data.features, config.model.tokenizer, config.validation, config.chunk) == ("", None, None, None)


def test_a_run_is_not_overwritten_and_not_mixed_with_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "steps=2") == 0
    assert run(tmp_path, "steps=2") == 2
    assert run(tmp_path, "steps=2", "losses.tcl_v=0.3", flags=("--resume",)) == 2
    assert run(tmp_path, "steps=2", "model.toy_steps=1", flags=("--resume",)) == 2
    assert run(tmp_path, "steps=2", "log_every=1", "data.part_size=4", flags=("--resume",)) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "holds a run: add --resume" in said
    assert "losses.tcl_v was 0.1 and is 0.3" in said
    assert "model.toy_steps was 0 and is 1" in said
    config = read_config(settings(tmp_path, "steps=2"))
    other = Trainer(config, build_model(config.model, 1), SingleProcess(), torch.device("cpu"))
    with pytest.raises(ConfigError, match="was trained on other encoders"):
        other.resume(tmp_path / "last.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["steps=3"], "no configuration: expected a YAML file"),
        ([TOY, "lossess.tcl_v=1"], "the nearest is 'losses.tcl_v'"),
        ([TOY, "gone.yaml"], "gone.yaml cannot be read"),
        ([TOY, "losses.tcl_v=-1"], "expected numbers of 0 or more"),
        ([TOY, "data.sources=[{kind: folder, pth: x}]"], "pth"),
        ([TOY, "--resum"], "No such option"),
        ([TOY, "data.batch_size=33"], "batch_size 33 in parts of 32"),
        ([TOY, "device=cuda"], "no usable GPU"),
        ([TOY, "model.encoder=clip"], "model.clip is empty"),
    ],
)
def test_wrong_settings_are_told(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "device=cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    extra = [f"output={tmp_path}", "model.toy_steps=0"] if TOY in arguments else []
    assert status(app, *arguments, *extra) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_without_arguments_the_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(app) == 2
    assert status(app, "--help") == 0
    said = capsys.readouterr()
    assert (said.out + said.err).count("torchrun --nproc-per-node 8 -m tcl_core.train") == 2


@pytest.fixture
def scene_shards(tmp_path: Path) -> Path:
    """Four shards of 60 scenes."""
    scenes = Scenes(240)
    for shard in range(4):
        with webdataset.TarWriter(str(tmp_path / f"s-{shard}.tar")) as writer:
            for number in range(shard * 60, shard * 60 + 60):
                sample = scenes.read(number)
                writer.write({"__key__": f"{number:05d}", "png": sample.image, "txt": sample.caption})
    return tmp_path


def test_training_passes_over_damage_and_counts_it(
    scene_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing shard, one cut short, an empty caption and an image of 0 bytes, all at once."""
    broken = scene_shards / "s-1.tar"
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    with webdataset.TarWriter(str(scene_shards / "s-2.tar")) as writer:
        writer.write({"__key__": "a", "png": b"", "txt": "a red circle"})
        writer.write({"__key__": "b", "png": Scenes(1).read(0).image, "txt": ""})
        for number in range(58):
            sample = Scenes(60).read(number)
            writer.write({"__key__": f"{number:05d}", "png": sample.image, "txt": sample.caption})
    (scene_shards / "s-3.tar").unlink()
    source = f"data.sources=[{{kind: shards, path: '{scene_shards}/s-{{0..3}}.tar'}}]"
    assert run(tmp_path / "out", source, "steps=20", "data.most_bad=0.5") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "1 x shard missing" in said
    assert "1 x shard cut short or damaged" in said
    assert "1 x image empty" in said
    assert "1 x caption empty" in said
    assert run(tmp_path / "strict", source, "steps=20", "data.most_bad=0.2") == 1
    assert "more than 20.0% (data.most_bad)" in " ".join(capsys.readouterr().err.split())


def test_a_full_disk_stops_the_run_with_its_checkpoint_intact(
    tmp_path: Path, files_no_longer_than: Limit, capsys: pytest.CaptureFixture[str]
) -> None:
    """No file as large as the last checkpoint can be written."""
    # With frozen blocks the first checkpoints lack the blocks' moments; those of the second phase are larger.
    options = ("steps=4", "save_every=1", "blocks_from_step=2")
    assert run(tmp_path / "free", *options) == 0
    size = (tmp_path / "free" / "last.safetensors").stat().st_size
    with files_no_longer_than(size - 1):
        assert run(tmp_path / "full", *options) == 1
    assert "could not be written" in " ".join(capsys.readouterr().err.split())
    assert read_checkpoint(tmp_path / "full" / "last.safetensors").state["step"] == 2
    assert run(tmp_path / "full", *options, flags=("--resume",)) == 0
    assert same_tensors(tmp_path / "full" / "last.safetensors", tmp_path / "free" / "last.safetensors")


def test_settings_made_in_python_are_plain_values() -> None:
    """Identity: what `read_config` makes of a file that says no more than this."""
    config = TrainConfig(output="out")
    assert plain_config(config) == plain_config(TypeAdapter(TrainConfig).validate_python({"output": "out"}))
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        TypeAdapter(TrainConfig).validate_python({"output": "out", "data": {"reencode_size": -1}})


def test_settings_of_several_files_lie_over_each_other(tmp_path: Path) -> None:
    (tmp_path / "over.yaml").write_text("losses: {tcl_v: 0.7}\nsteps: 9\nvalidation: {kind: scenes, count: 3}\n")
    config = read_config([TOY, str(tmp_path / "over.yaml"), "steps=11"])
    assert (config.losses.tcl_v, config.losses.tcl_f, config.steps) == (0.7, 0.1, 11)
    assert config.validation is not None
    assert config.validation.count == 3
    with pytest.raises(ConfigError, match="the nearest is"):
        (tmp_path / "over.yaml").write_text("loses: {tcl_v: 0.7}\n")
        read_config([TOY, str(tmp_path / "over.yaml")])


def test_mean_iou_is_a_naive_count() -> None:
    """Oracle: sets of pixels; a class that occurs nowhere does not count."""
    generator = torch.Generator().manual_seed(0)
    truth, predicted = (torch.randint(0, 4, (200,), generator=generator) for _ in range(2))
    scores = []
    for label in range(4):
        one = {i for i in range(200) if truth[i] == label}
        other = {i for i in range(200) if predicted[i] == label}
        scores.append(len(one & other) / len(one | other))
    assert mean_iou(confusion_of(truth, predicted, 6)) == pytest.approx(sum(scores) / 4)


def test_the_papers_recipe_is_what_it_says() -> None:
    """Oracle: the numbers of the paper and its release."""
    config = read_config([str(ROOT / "configs" / "tcl_vitb16.yaml")])
    assert (config.steps, config.blocks_from_step, config.data.batch_size) == (50_000, 30_000, 1024)
    rate = config.optimizer.learning_rate
    assert rate.at(15_000, config.steps, 1024) == pytest.approx(7.5e-5)
    assert rate.at(50_000, config.steps, 1024) == pytest.approx(1e-5)
    assert vars(config.losses) == {
        "tcl_v": 0.1,
        "tcl_f": 0.1,
        "area": 0.4,
        "tv": 1.0,
        "contrastive": 0.0,
        "region": 0.0,
    }
    with pytest.raises(ConfigError, match="no shard of"):
        open_sources(config.data.sources, 0, None)


def test_the_papers_model_is_built_on_any_clip() -> None:
    """By hand: four convolutions with a norm, a bias and a gate; ImageNet's statistics."""
    golden = ROOT / "tests" / "golden" / "tcl_small" / "clip_small_openai_layout.pth"
    config = read_config([str(ROOT / "configs" / "tcl_vitb16.yaml")])
    model = build_model(replace(config.model, clip=str(golden), pretrained=None), 0)
    decoder = sum(parameter.numel() for parameter in model.grounder.decoder.parameters())
    dim = model.image_encoder.dim
    assert decoder == 4 * (9 * dim * dim + 3 * dim + 1)
    assert model.preprocess.mean == (0.485, 0.456, 0.406)


@torch.inference_mode()
def test_a_grounder_may_own_several_blocks(tmp_path: Path) -> None:
    """Oracle: the zero-gate identity, sigmoid(10 cosine - 2.5) of the frozen tower's own embeddings; 1e-6."""
    golden = ROOT / "tests" / "golden" / "tcl_small" / "clip_small_openai_layout.pth"
    config = read_config([str(ROOT / "configs" / "tcl_vitb16.yaml")])
    settings = replace(config.model, clip=str(golden), pretrained=None, num_blocks=2)
    model = build_model(settings, 0)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    text = torch.randn(3, model.image_encoder.embed_dim, generator=torch.Generator().manual_seed(1))
    own = model.image_encoder.project(model.image_encoder.features(images))
    expected = torch.sigmoid(10 * similarity(own, text) - 2.5).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    torch.testing.assert_close(model.masks(images, text), expected, rtol=0, atol=1e-6)
    assert {name.split(".")[0] for name, _ in model.grounder.blocks.named_parameters()} == {"blocks", "final_block"}
    vision = {"layers": (1, 1, 1, 1), "width": 64, "image_size": 64, "patch_size": None}
    text_settings = {"context_length": 9, "vocab_size": 50, "width": 64, "heads": 1, "layers": 1}
    resnet = open_clip.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text_settings, quick_gelu=True)
    torch.save(resnet.state_dict(), tmp_path / "resnet.pt")
    with pytest.raises(ConfigError, match="no vision transformer"):
        build_model(replace(settings, clip=str(tmp_path / "resnet.pt")), 0)
    with pytest.raises(ConfigError, match="the checkpoint says how many"):
        build_model(replace(settings, start="tcl.pth"), 0)


def test_an_estimate_is_what_is_measured(tmp_path: Path) -> None:
    """By hand: bytes of parameters; activations grow with the part, and changing nothing is bit for bit nothing."""
    estimates = []
    for part in (2, 4):
        config = read_config(settings(tmp_path, f"data.part_size={part}", "optimizer.ema=0.9"))
        trainer = Trainer(config, build_model(config.model, 0), SingleProcess(), torch.device("cpu"))
        before = deepcopy(trainer.checkpoint().tensors)
        estimates.append(estimate(trainer))
        after = trainer.checkpoint().tensors
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    num_trained = sum(parameter.numel() for parameter in trainer.parameters.values())
    assert estimates[0].num_trained == num_trained
    assert estimates[0].update_bytes == 4 * 4 * num_trained
    assert estimates[0].image_bytes > 3 * 48 * 48 * 4
    assert estimates[1].activation_bytes - estimates[0].activation_bytes == 2 * estimates[1].image_bytes
    assert "GB a process" in str(estimates[0])
