"""GroupViT's weights: what does not fit is refused by name, what they are is told, nothing in them runs."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tcl_core.baselines.groupvit_rows import ROWS, build_row, evidence_of
from tcl_core.baselines.groupvit_weights import load_groupvit
from tcl_core.errors import UnsafePickleError, WeightsError
from tcl_core.towers.weights_file import read_weights_file

GOLDEN = Path(__file__).parents[2] / "golden"
SMALL = GOLDEN / "eval" / "groupvit"
YFCC, REDCAPS = ROWS

State = dict[str, Tensor]


def official_state() -> State:
    return dict(read_weights_file(SMALL / "official_small.pth")["model"])


HEADS = {"img_encoder": {"num_heads": [6, 6, 6]}}  # as the recorded file has them


def save_official(state: State, folder: Path) -> Path:
    torch.save({"model": state, "config": {"model": HEADS}}, folder / "groupvit.pth")
    return folder / "groupvit.pth"


def port_state() -> State:
    return load_file(SMALL / "hf_small" / "model.safetensors")


def save_port(state: State, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    shutil.copy(SMALL / "hf_small" / "config.json", folder)
    save_file(state, folder / "model.safetensors")
    return folder


BOTH = pytest.mark.parametrize(
    ("state", "save", "layer"),
    [
        (official_state, save_official, "img_encoder.layers.1.downsample.assign.q_proj.weight"),
        (official_state, save_official, "text_encoder.transformer.resblocks.1.attn.in_proj_bias"),
        (official_state, save_official, "img_projector.linear_out.bias"),
        (official_state, save_official, "img_encoder.pos_embed"),
        (port_state, save_port, "vision_model.encoder.stages.1.downsample.pre_assign_attn.attn.out_proj.weight"),
        (port_state, save_port, "text_model.encoder.layers.1.self_attn.k_proj.bias"),
        (port_state, save_port, "visual_projection.1.running_var"),
        (port_state, save_port, "text_model.embeddings.position_embedding.weight"),
    ],
)


@BOTH
def test_a_missing_tensor_is_named(
    state: Callable[[], State], save: Callable[[State, Path], Path], layer: str, tmp_path: Path
) -> None:
    damaged = state()
    del damaged[layer]
    with pytest.raises(WeightsError, match=layer.replace("k_proj", "[qv]_proj")):
        load_groupvit(save(damaged, tmp_path), tokenizer=object())


@BOTH
def test_another_shape_is_named(
    state: Callable[[], State], save: Callable[[State, Path], Path], layer: str, tmp_path: Path
) -> None:
    damaged = state()
    damaged[layer] = damaged[layer][None]
    with pytest.raises(WeightsError, match=layer):
        load_groupvit(save(damaged, tmp_path), tokenizer=object())


@BOTH
def test_a_tensor_too_many_is_named(
    state: Callable[[], State], save: Callable[[State, Path], Path], layer: str, tmp_path: Path
) -> None:
    for extra in (f"{layer}_more.weight", "decoder.weight"):
        damaged = state() | {extra: torch.zeros(3)}
        with pytest.raises(WeightsError, match=extra):
            load_groupvit(save(damaged, tmp_path), tokenizer=object())


def test_code_in_the_file_does_not_run(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'evidence'}",)

    torch.save({"model": official_state(), "config": Malicious()}, tmp_path / "groupvit.pth")
    with pytest.raises(UnsafePickleError, match=r"names (posix|nt|os)\.system"):
        load_groupvit(tmp_path / "groupvit.pth")
    assert not (tmp_path / "evidence").exists()


def test_heads_are_not_guessed(tmp_path: Path) -> None:
    torch.save(official_state(), tmp_path / "groupvit.pth")
    with pytest.raises(WeightsError, match=r"says nothing of its heads of attention, and its 48 channels"):
        load_groupvit(tmp_path / "groupvit.pth")
    save_file(port_state(), tmp_path / "alone.safetensors")
    with pytest.raises(WeightsError, match=r"or config.json beside it"):
        load_groupvit(tmp_path / "alone.safetensors")


def test_a_configuration_that_contains_itself(tmp_path: Path) -> None:
    config: dict[str, Any] = {"model": HEADS}
    config["again"] = config
    torch.save({"model": official_state(), "config": config}, tmp_path / "groupvit.pth")
    with pytest.raises(WeightsError, match=r"groupvit.pth: the configuration in it contains itself"):
        load_groupvit(tmp_path / "groupvit.pth")


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("clip_small_openai_layout.pth", "CLIP with a vision transformer, in OpenAI's layout"),
        ("tcl_official_small.pth", "weights of TCL"),
    ],
)
def test_weights_of_other_models_are_told_by_name(file: str, what: str) -> None:
    with pytest.raises(WeightsError, match=rf"{what}: expected GroupViT"):
        load_groupvit(GOLDEN / "tcl_small" / file)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors or pytorch_model.bin"):
        load_groupvit(tmp_path)
    for name in ("groupvit.pth", "weights/groupvit.pth", str(tmp_path / "no")):
        with pytest.raises(FileNotFoundError, match=r"expected weights of GroupViT, a folder with them, or OWNER/NAME"):
            load_groupvit(name)


def test_a_snapshot_of_another_model(tmp_path: Path) -> None:
    save_port(port_state(), tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(WeightsError, match=r"config.json describes no GroupViT"):
        load_groupvit(tmp_path)


def cached(cache: Path, name: str, files: Path) -> None:
    """Put files where the hub's client keeps what it downloaded."""
    folder = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(files, folder / "snapshots" / "0123")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's client without a network, with a cache of its own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_by_name(hub_cache: Path, tmp_path: Path) -> None:
    """From the client's cache, as safetensors and as the pickle of older snapshots, position_ids included."""
    cached(hub_cache, YFCC.hub, SMALL / "hf_small")
    first = load_groupvit(YFCC.hub, tokenizer=object())
    older = tmp_path / "older"
    older.mkdir()
    shutil.copy(SMALL / "hf_small" / "config.json", older)
    torch.save(
        port_state() | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, older / "pytorch_model.bin"
    )
    cached(hub_cache, REDCAPS.hub, older)
    second = load_groupvit(REDCAPS.hub, tokenizer=object())
    expected = load_groupvit(SMALL / "hf_small", tokenizer=object()).model.state_dict()
    for file in (first, second):
        assert all(torch.equal(value, expected[name]) for name, value in file.model.state_dict().items())
    assert [key.source for key in second.report.keys if not key.target] == ["text_model.embeddings.position_ids"]
    assert [evidence_of(file).row for file in (first, second)] == [YFCC, REDCAPS]
    with pytest.raises(WeightsError, match=r"could not be had from the Hugging Face hub"):
        load_groupvit("nobody/groupvit")


def saved_as(folder: Path, name: str, train: list[str] | None) -> Path:
    config: dict[str, Any] = {"model": HEADS}
    if train is not None:
        config["data"] = {"dataset": {"train": train, "meta": {"yfcc14m": {}, "redcap12m": {}}}}
    torch.save({"model": official_state(), "config": config}, folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("name", "train", "why"),
    [
        ("groupvit.pth", ["gcc3m", "gcc12m", "redcap12m"], "its configuration says gcc3m, gcc12m, redcap12m"),
        (YFCC.file, ["gcc3m", "redcap12m"], "its configuration says gcc3m, redcap12m"),
        (REDCAPS.file, None, f"it is called {REDCAPS.file}"),
    ],
)
def test_weights_of_the_other_row_are_refused(name: str, train: list[str] | None, why: str, tmp_path: Path) -> None:
    path = saved_as(tmp_path, name, train)
    message = (
        rf"are the weights of GroupViT \(RedCaps\), trained on CC3M, CC12M and RedCaps12M \({why}\): expected those "
    )
    with pytest.raises(WeightsError, match=message + r"of GroupViT \(YFCC\): group_vit_gcc_yfcc_30e-879422e0.pth"):
        build_row(YFCC, path, ["cat"], threshold=None, tokenizer=object())


def test_where_weights_are_found(tmp_path: Path) -> None:
    assert YFCC.found_in(tmp_path) is None
    snapshot = save_port(port_state(), tmp_path / "groupvit-gcc-yfcc")
    assert YFCC.found_in(tmp_path) == snapshot
    file = save_official(official_state(), tmp_path).rename(tmp_path / YFCC.file)
    assert YFCC.found_in(tmp_path) == file
    assert REDCAPS.found_in(tmp_path) is None


def test_what_lies_beside_the_authors_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    assert load_groupvit(save_official(official_state(), tmp_path), tokenizer=object()).settings == {"model": HEADS}


def test_what_tells_the_row(tmp_path: Path) -> None:
    """The configuration before the digest before the name; nothing where both rows or none are named."""
    file = load_groupvit(saved_as(tmp_path, YFCC.file, None), tokenizer=object())
    assert evidence_of(file).row is YFCC
    digest = replace(file, sha256=REDCAPS.digest + file.sha256[8:])
    assert evidence_of(digest).why == f"its SHA-256 begins with {REDCAPS.digest}"
    trained = replace(digest, settings={"data": {"dataset": {"train": ["yfcc14m"]}}})
    assert evidence_of(trained).row is YFCC
    nameless = replace(file, path=Path("/a/b/c/yfcc-or-redcaps.pth"))
    assert evidence_of(nameless) is None
