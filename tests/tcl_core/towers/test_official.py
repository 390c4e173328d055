"""Weights read without running code, and put where they belong or refused by name."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor, nn

from tcl_core.errors import UnsafePickleError, WeightsError
from tcl_core.towers.official import ImportReport, load_clip, load_tcl, tcl_from_clip
from tcl_core.towers.open_clip import ClipModel, load_clip_weights, named_clip, openai_layout_clip
from tcl_core.towers.weights_file import load_strictly, read_weights_file, tensors_of


class Malicious:
    """Creates a file when unpickled the usual way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def clip_file(golden_dir: Path) -> Path:
    return golden_dir / "clip_small_openai_layout.pth"


@pytest.fixture
def tcl_file(golden_dir: Path) -> Path:
    return golden_dir / "tcl_official_small.pth"


@pytest.fixture
def tcl_state(tcl_file: Path) -> dict[str, Tensor]:
    return dict(read_weights_file(tcl_file)["model"])


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: {"model": {"a": torch.zeros(1)}, "config": bad}])
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, clip_file: Path, zipped: bool, wrap: Callable) -> None:
    """Oracle: the file that the code would create; a plain unpickler does create it."""
    evidence, path = tmp_path / "evidence", tmp_path / "tcl.pth"
    torch.save(wrap(Malicious(evidence)), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UnsafePickleError, match=r"names (posix|nt|os)\.system, which is neither a tensor nor plain data"
    ):
        load_tcl(clip_file, path)
    assert not evidence.exists()
    torch.load(path, weights_only=False)
    assert evidence.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_bare_pickle_does_not_run(tmp_path: Path, protocol: int) -> None:
    evidence, path = tmp_path / "evidence", tmp_path / "clip.pt"
    path.write_bytes(pickle.dumps(Malicious(evidence), protocol=protocol))
    with pytest.raises(UnsafePickleError, match="could run code"):
        read_weights_file(path)
    assert not evidence.exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "builtins getattr", "torch load", "torch.hub load", "collections Counter"]
)
def test_names_that_are_not_on_the_list(tmp_path: Path, name: str) -> None:
    module, attribute = name.split()
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(UnsafePickleError, match=f"{module}.{attribute}"):
        read_weights_file(path)


def test_foreign_objects_are_inert(tcl_file: Path) -> None:
    """Oracle: PyTorch's own safe reader refuses the file; ours reads it and keeps the configuration as data."""
    with pytest.raises(pickle.UnpicklingError, match="omegaconf"):
        torch.load(tcl_file, weights_only=True)
    content = read_weights_file(tcl_file)
    config = content["config"]
    assert type(config).__mro__[1].__name__ == "Inert"
    assert type(config).__module__ == "omegaconf.dictconfig"
    assert "_content" in config.attributes()
    assert content["step"] == 49999


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_survive(tmp_path: Path, zipped: bool) -> None:
    """Oracle: what was saved, in every dtype, with views, shared storage and scalars; exact."""
    base = torch.arange(24.0).reshape(4, 6)
    saved: dict[str, Any] = OrderedDict(
        base=base, transposed=base.T, part=base[1:3, ::2], scalar=torch.tensor(3.5), empty=torch.zeros(0, 3)
    )
    dtypes = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
    saved.update({str(dtype): torch.tensor([0, 1, 1]).to(dtype) for dtype in dtypes})
    saved["parameter"] = nn.Parameter(torch.ones(2))
    path = tmp_path / "x.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    read = read_weights_file(path)
    assert list(read) == list(saved)
    for name, value in saved.items():
        assert torch.equal(read[name], value.detach()), name
        assert read[name].dtype == value.dtype


# torch.jit is deprecated, and still what OpenAI's archives are made of.
@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")
def test_torchscript_is_read_as_tensors(tmp_path: Path) -> None:
    """Oracle: the module's state dict; exact. Its code is replaced by nonsense, so it cannot have been looked at."""
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).half().eval()
    script, path = io.BytesIO(), tmp_path / "clip.pt"
    torch.jit.save(torch.jit.script(module), script)
    with zipfile.ZipFile(script) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"nonsense" if "/code/" in name else source.read(name))
    read = read_weights_file(path)
    assert set(read) == set(module.state_dict())
    assert all(torch.equal(read[name], value) for name, value in module.state_dict().items())


BAD_FILES = {
    "empty": (b"", "is empty"),
    "web page": (b"\n<!DOCTYPE html><html>Sign in</html>", r"is a web page \(HTML\)"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "text": (b"hello, these are no weights", "is no file of weights: it begins with b'hello"),
    "pickle": (pickle.dumps({"a": 1}, protocol=2), "a pickle that torch.save did not write"),
    "zip": (b"PK\x03\x04 and nothing more", "truncated or damaged"),
    "huge header": (b"\xff" * 8 + b"{", "truncated or damaged"),
}


@pytest.mark.parametrize("name", sorted(BAD_FILES))
def test_files_that_are_no_weights(tmp_path: Path, clip_file: Path, name: str) -> None:
    content, message = BAD_FILES[name]
    path = tmp_path / "tcl.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_tcl(clip_file, path)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_files(tmp_path: Path, kind: str, share: float) -> None:
    from safetensors.torch import save_file

    state, whole = {"a": torch.randn(50, 50), "b": torch.randn(50)}, tmp_path / f"whole.{kind}"
    if kind == "safetensors":
        save_file(state, whole)
    else:
        torch.save(state, whole, _use_new_zipfile_serialization=kind == "zip")
    path = tmp_path / f"part.{kind}"
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(WeightsError, match="truncated or damaged|is no file of weights"):
        read_weights_file(path)


def test_flipped_bits_in_a_zip(tmp_path: Path, tcl_file: Path) -> None:
    """Oracle: the checksum that every member of a zip carries."""
    damaged = bytearray(tcl_file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path = tmp_path / "tcl.pth"
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match="truncated or damaged"):
        read_weights_file(path)


def test_missing_file(clip_file: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*tcl\.pth: expected weights"):
        load_tcl(clip_file, tmp_path / "tcl.pth")
    with pytest.raises(FileNotFoundError, match=r"no file .*clip\.pt: expected weights of CLIP, an open_clip name"):
        load_clip(tmp_path / "clip.pt")


def test_the_report_names_every_key(clip_file: Path, tcl_file: Path, tcl_state: dict[str, Tensor]) -> None:
    """Oracle: the names in the file, and the 39 of the published checkpoint less two temperatures: 37 are loaded."""
    reports: list[ImportReport] = []
    model = load_tcl(clip_file, tcl_file, on_report=reports.append)
    keys = reports[0].keys
    assert [key.source for key in keys] == list(tcl_state)
    loaded = [key for key in keys if key.target]
    assert len(loaded) == 37
    assert {key.target for key in loaded} == set(model.grounder.state_dict())
    assert all(key.note for key in keys)
    assert "masker.sim2mask.w [] -> similarity_to_mask.scale: loaded" in str(reports[0])


def test_released_form(tmp_path: Path, clip_file: Path, tcl_file: Path, tcl_state: dict[str, Tensor]) -> None:
    """Oracle: the model from the training form; exact. The released file has only `model`, without frozen parts."""
    minimal = {name: value for name, value in tcl_state.items() if name.startswith(("masker.", "tcl"))}
    assert len(minimal) == 39
    path = tmp_path / "tcl.pth"
    torch.save({"model": minimal}, path)
    released, trained = load_tcl(clip_file, path), load_tcl(clip_file, tcl_file)
    for name, value in trained.state_dict().items():
        assert torch.equal(released.state_dict()[name], value), name


FROZEN_BLOCK = "clip_image_encoder.clip_visual.transformer.resblocks.1."
OWN_BLOCK = "masker.image_encoder.backbone.transformer.resblocks.1."


def owning_two_blocks(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As if trained with ie_freeze = 1: the grounder owns the middle block too, not yet moved from CLIP's."""
    copies = {
        OWN_BLOCK + name.removeprefix(FROZEN_BLOCK): value
        for name, value in state.items()
        if name.startswith(FROZEN_BLOCK)
    }
    return {**state, **copies}


@pytest.mark.parametrize("kp_weight", [0.0, 0.3])
@pytest.mark.parametrize("size", ["64x64", "90x119"])
@torch.inference_mode()
def test_grounder_of_two_blocks(
    tmp_path: Path, clip_file: Path, tcl_state: dict[str, Tensor], golden: Any, size: str, kp_weight: float
) -> None:
    """Oracle: the recorded masks; a second block that equals the frozen one changes nothing; 1e-5."""
    path = tmp_path / "tcl.pth"
    torch.save({"model": owning_two_blocks(tcl_state)}, path)
    model = load_tcl(clip_file, path)
    masks = model.segment(golden[f"seg_image_{size}"], golden["text_emb"], kp_weight=kp_weight)
    expected = golden[f"seg_masks_{size}_pamr0_kp{kp_weight}"]
    torch.testing.assert_close(masks, expected, rtol=0, atol=1e-5)
    assert sum(p.numel() for p in model.grounder.blocks.parameters()) == 12 * 64**2 + 13 * 64 + 10 * 64**2 + 11 * 64


@torch.inference_mode()
def test_second_block_is_the_grounders_own(
    tmp_path: Path, clip_file: Path, tcl_file: Path, tcl_state: dict[str, Tensor], golden: Any
) -> None:
    """Oracle: a CLIP whose own middle block was moved the same way, with the grounder of one block; 1e-6."""
    generator = torch.Generator().manual_seed(3)
    moved = {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        for name, value in owning_two_blocks(tcl_state).items()
        if name.startswith(OWN_BLOCK)
    }
    torch.save({"model": {**owning_two_blocks(tcl_state), **moved}}, tmp_path / "two.pth")
    clip_state = torch.load(clip_file, weights_only=True)
    block = "visual.transformer.resblocks.1."
    torch.save(
        clip_state | {block + name.removeprefix(OWN_BLOCK): value for name, value in moved.items()},
        tmp_path / "clip.pth",
    )
    released = {name: value for name, value in tcl_state.items() if name.startswith("masker.")}
    torch.save({"model": released}, tmp_path / "one.pth")
    two, one = load_tcl(clip_file, tmp_path / "two.pth"), load_tcl(tmp_path / "clip.pth", tmp_path / "one.pth")
    images = golden["train_image"]
    embeddings = two.dense_embeddings(images)
    torch.testing.assert_close(embeddings, one.dense_embeddings(images), rtol=0, atol=1e-6)
    plain = load_tcl(clip_file, tcl_file)
    assert (embeddings - plain.dense_embeddings(images)).abs().max() > 0.1
    # The frozen tower is what it was: text-grounded images are embedded by it.
    torch.testing.assert_close(two.image_encoder.embed(images), golden["clip_global_emb"], rtol=0, atol=2e-6)


def changed(name: str, value: Tensor | None) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    def change(state: dict[str, Tensor]) -> dict[str, Tensor]:
        state = {key: kept for key, kept in state.items() if key != name}
        return state if value is None else {**state, name: value}

    return change


def renumbered(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.replace("backbone.transformer.resblocks.2.", "backbone.transformer.resblocks.11."): value
        for name, value in state.items()
    }


def renumbered_to_first(state: dict[str, Tensor]) -> dict[str, Tensor]:
    own = OWN_BLOCK.replace("1", "0")
    return {name.replace(OWN_BLOCK, own): value for name, value in owning_two_blocks(state).items()}


PROJECTION = "masker.image_encoder.decoder.image_proj.proj"
BAD_STATES = {
    "left over": (changed("masker.extra", torch.zeros(1)), "names that are not known here: masker.extra"),
    "missing": (changed(PROJECTION, None), "missing: projection.module.readout.projection.weight"),
    "other shape": (changed(PROJECTION, torch.zeros(64, 512)), r"projection.weight \(512, 64\), expected \(32, 64\)"),
    "NaN": (changed("masker.sim2mask.w", torch.tensor(float("nan"))), "NaN or infinite numbers in masker.sim2mask.w"),
    "other depth": (renumbered, r"trains blocks \[11\] of the tower; expected the last one, 2"),
    "a gap": (
        renumbered_to_first,
        r"trains blocks \[0, 2\] of the tower; expected the last one, 2, or several up to it",
    ),
    "other CLIP": (
        changed("clip_image_encoder.clip_visual.class_embedding", torch.ones(64)),
        "trained on another CLIP than .*: they differ in clip_image_encoder.clip_visual.class_embedding",
    ),
    "no TCL": (lambda state: {"visual.proj": torch.zeros(2, 2)}, "no name begins with 'masker.'"),
}


@pytest.mark.parametrize("name", sorted(BAD_STATES))
def test_checkpoints_that_do_not_fit(tmp_path: Path, clip_file: Path, tcl_state: dict[str, Tensor], name: str) -> None:
    change, message = BAD_STATES[name]
    path = tmp_path / "tcl.pth"
    torch.save({"model": change(tcl_state)}, path)
    with pytest.raises(WeightsError, match=message):
        load_tcl(clip_file, path)


def test_openai_layout_loads_into_open_clip(clip_file: Path) -> None:
    """Oracle: the file's tensors in open_clip's own classes; exact."""
    clip, state = load_clip(clip_file), torch.load(clip_file, weights_only=True)
    assert isinstance(clip.model, open_clip.CLIP)
    assert clip.quick_gelu
    assert set(clip.model.state_dict()) == set(state)
    assert all(torch.equal(clip.model.state_dict()[name], value.float()) for name, value in state.items())


def test_openai_resnet_describes_itself() -> None:
    """Oracle: the architecture that the state dict came from."""
    vision = {"layers": (1, 2, 1, 1), "width": 64, "image_size": 64, "patch_size": None}
    text = {"context_length": 9, "vocab_size": 50, "width": 64, "heads": 1, "layers": 2}
    model = open_clip.CLIP(32, vision, text, quick_gelu=True)
    state = {**model.state_dict(), "input_resolution": torch.tensor(64)}
    clip = openai_layout_clip(state, "small")
    assert clip.model.visual.image_size == 64
    assert tcl_from_clip(clip, head="maskclip").preprocess.size == 448
    assert all(torch.equal(clip.model.state_dict()[name], value) for name, value in model.state_dict().items())


def test_a_checkpoint_without_its_activation(tmp_path: Path, clip_file: Path) -> None:
    path = tmp_path / "epoch_1.pt"
    torch.save({"epoch": 1, "state_dict": torch.load(clip_file, weights_only=True)}, path)
    with pytest.raises(WeightsError, match="does not say whether it needs QuickGELU: name its architecture"):
        load_clip(path)


def test_tcl_needs_quick_gelu(clip_file: Path, tcl_file: Path) -> None:
    clip = load_clip(clip_file)
    plain = ClipModel("ViT-B-16", clip.model, clip.tokenizer, clip.mean, clip.std, quick_gelu=False)
    with pytest.raises(WeightsError, match="has QuickGELU, and ViT-B-16 has GELU: take ViT-B-16-quickgelu"):
        tcl_from_clip(plain, tcl_file)


def test_wrong_activation_for_the_weights(tmp_path: Path, clip_file: Path) -> None:
    """Told from the tag without downloading, and from the marks in OpenAI's own files."""
    with pytest.raises(WeightsError, match=r"trained with QuickGELU and ViT-B-16 has GELU.*Take ViT-B-16-quickgelu"):
        named_clip("ViT-B-16", "openai")
    state = torch.load(clip_file, weights_only=True)
    marks = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save({**state, **marks}, tmp_path / "clip.pt")
    clip = load_clip(clip_file)
    plain = ClipModel("ViT-B-16", clip.model, clip.tokenizer, clip.mean, clip.std, quick_gelu=False)
    with pytest.raises(WeightsError, match="OpenAI's weights .* were trained with QuickGELU"):
        load_clip_weights(plain, tmp_path / "clip.pt")
    load_clip_weights(clip, tmp_path / "clip.pt")


def test_names_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match=r"no model 'ViT-B-61'.*Nearest names: .*ViT-B-16"):
        load_tcl("ViT-B-61")
    with pytest.raises(
        ValueError, match=r"which weights for ViT-B-16-quickgelu\? Name a file \(pretrained\), or one of: .*openai"
    ):
        load_tcl("ViT-B-16-quickgelu")
    with pytest.raises(ValueError, match="no weights 'opeani' for ViT-B-16-quickgelu: expected a file, or one of"):
        load_tcl("ViT-B-16-quickgelu", pretrained="opeani")


def test_state_dicts_in_wrappers() -> None:
    """Oracle: the tensors inside; exact."""
    inner = {"a": torch.ones(2), "b": torch.tensor([1, 2])}
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in inner.items()}}
    assert set(tensors_of(wrapped, "x")) == {"a", "b"}
    assert tensors_of({"a": torch.ones(2).half()}, "x")["a"].dtype == torch.float32
    for content in ({}, [1], {"epoch": 3}, np.zeros(2)):
        with pytest.raises(WeightsError, match="x holds no state dict"):
            tensors_of(content, "x")


def test_strict_loading_names_what_is_wrong() -> None:
    with pytest.raises(
        WeightsError, match=r"missing: bias; left over: other; of another shape: weight \(1, 2\), expected \(3, 2\)"
    ):
        load_strictly(nn.Linear(2, 3), {"weight": torch.zeros(1, 2), "other": torch.zeros(1)}, "x")
