"""The packaged model: towers, files, export."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from tcl_core.align.__main__ import text_bytes
from tcl_core.errors import ModelFileError
from tcl_core.model import TCL
from tcl_core.tiny.file import DEFAULT_PATH, load_tiny, read_tiny_config, save_tiny
from tcl_core.tiny.towers import UNKNOWN_ID, LexiconHead, TinyImageEncoder, TinyTextEncoder, build_tiny


@pytest.fixture(scope="module")
def tiny() -> TCL:
    return load_tiny()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for suffix in (".safetensors", ".json", ".tokenizer.json"):
        shutil.copy(DEFAULT_PATH.with_suffix(suffix), tmp_path)
    return tmp_path / DEFAULT_PATH.name


@pytest.mark.parametrize("size", [(224, 224), (256, 320)])
def test_image_tower_equals_timm(size: tuple[int, int]) -> None:
    """Oracle: timm's own models with their dynamic "same" padding, random weights, exact up to rounding."""
    torch.manual_seed(0)
    ours = TinyImageEncoder().eval()
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    theirs.load_state_dict(ours.trunk.state_dict())
    pyramid = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(3, 4)).eval()
    pyramid.load_state_dict(ours.trunk.state_dict(), strict=False)
    images = torch.randn(2, 3, *size)
    with torch.inference_mode():
        features = ours.features(images)
        projected, coarse, fine = ours.stages.split(features)
        torch.testing.assert_close(projected, ours.projection(theirs.forward_features(images)), rtol=1e-4, atol=1e-5)
        for stage, expected in zip((fine, coarse), pyramid(images), strict=True):
            torch.testing.assert_close(stage, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.project(features), projected, rtol=0, atol=0)
    assert features.shape == (2, ours.dim, size[0] // 32, size[1] // 32)
    assert ours.stride == 32


def test_embedding_is_the_mean_of_the_projected_map(tiny: TCL) -> None:
    """Oracle: pooling and projection are linear, so they commute; rounding only."""
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        encoder = tiny.image_encoder
        mean = encoder.project(encoder.features(images)).mean(dim=(2, 3))
        torch.testing.assert_close(tiny.image_encoder.embed(images), mean, rtol=1e-4, atol=1e-4)


def test_the_frozen_tower_answers_the_same(tiny: TCL) -> None:
    """Oracle: the tower itself. Embedding, features, and the gradient that TCL_v sends back to a masked image.

    The gradient jumps where an activation lies within rounding of 0 or 6, so that it is compared as a whole.
    """
    tower, frozen = tiny.image_encoder, tiny.image_encoder.frozen()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 224, 224, generator=generator) * 2 - 1
    gradients = []
    for encoder in (tower, frozen):
        leaf = images.clone().requires_grad_()
        encoder.embed(leaf).square().sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad.flatten())
    with torch.inference_mode():
        torch.testing.assert_close(frozen.embed(images), tower.embed(images), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(frozen.features(images), tower.features(images), rtol=1e-3, atol=1e-3)
    assert F.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.9999
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in tower.modules())  # the tower is as it was


def test_the_grounder_was_trained(tiny: TCL) -> None:
    """Oracle: with its gates shut, the decoder is the projected map enlarged; what ships differs from that."""
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = tiny.image_encoder.features(images)
        trained = tiny.ground(features)
        untrained = F.interpolate(tiny.image_encoder.project(features), scale_factor=2.0, mode="bilinear")
        assert trained.shape == (1, 256, 4, 6)
        assert not torch.allclose(trained, untrained, atol=0.1)
        shut = build_tiny(read_tiny_config(), tiny.text_encoder.tokenizer)  # type: ignore[arg-type]
        torch.testing.assert_close(shut.ground(features), untrained)


def test_sides_must_be_multiples_of_32(tiny: TCL) -> None:
    """Oracle: the static padding is right for multiples of 32 only."""
    with pytest.raises(ValueError, match="multiples of 32"):
        tiny.image_encoder.features(torch.zeros(1, 3, 100, 96))


def test_padding_does_not_change_a_row(tiny: TCL) -> None:
    """Oracle: the row on its own; masked positions weigh exactly 0, so only the order of sums differs."""
    alone = tiny.encode_text(tiny.text_encoder.tokenize(["cat"]))
    together = tiny.encode_text(tiny.text_encoder.tokenize(["cat", "a very old wooden rocking chair"]))
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("text", ["חתול", "قط", "🐈", "", "  "])
def test_unreadable_words_are_refused(tiny: TCL, text: str) -> None:
    """Oracle: the vocabulary has Latin letters only."""
    with pytest.raises(ValueError, match="English"):
        tiny.text_encoder.tokenize(["dog", text])


def test_tokenizer_file_marks_other_scripts_unknown(tiny: TCL) -> None:
    """Oracle: the documented ids; the runtime refuses words by them."""
    tokenizer = tiny.text_encoder.tokenizer
    assert tokenizer.token_to_id("[PAD]") == 0
    assert tokenizer.encode("חתול").ids == [UNKNOWN_ID]
    assert tokenizer.encode("Café").ids == tokenizer.encode("cafe").ids
    long = tokenizer.encode("word " * 50).ids
    assert len(long) == read_tiny_config().context_length


def test_words_that_mean_the_same_are_near(tiny: TCL) -> None:
    """Oracle: common sense; a word is nearer to its synonym than to any of the others."""
    pairs = [("sofa", "couch"), ("car", "automobile"), ("street", "road"), ("lawn", "grass"), ("people", "person")]
    with torch.inference_mode():
        rows = [tiny.encode_text(tiny.text_encoder.tokenize(list(side))) for side in zip(*pairs, strict=True)]
    left, right = (torch.nn.functional.normalize(row, dim=1) for row in rows)
    assert (left @ right.T).argmax(dim=1).tolist() == list(range(len(pairs)))


def test_save_and_load_round_trip(tiny: TCL, tmp_path: Path) -> None:
    """Oracle: the model that was saved; half precision was lost before, so nothing more is."""
    save_tiny(tiny, read_tiny_config(), tmp_path / "again.safetensors")
    again = load_tiny(tmp_path / "again.safetensors").state_dict()
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(tensor, again[name]), name


def test_size_of_the_package() -> None:
    """Oracle: the promise of at most 14.5 MB."""
    assert sum(path.stat().st_size for path in DEFAULT_PATH.parent.iterdir()) <= 14_500_000


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html>404</html>")


def _edit(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        weights = load_file(path)
        change(weights)
        save_file(weights, path)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "no model at"),
        (_truncate, "damaged or cut short"),
        (_web_page, "web page"),
        (_edit(lambda w: w["image_encoder.projection.bias"].fill_(float("nan"))), "not finite"),
        (_edit(lambda w: w.update({"text_encoder.positions": torch.zeros(3, 3)})), "has shape"),
        (_edit(lambda w: w.pop("text_encoder.positions")), "missing tensors"),
        (lambda p: p.with_suffix(".json").unlink(), "is missing"),
        (lambda p: p.with_suffix(".json").write_text("{}"), "does not describe"),
        (lambda p: p.with_suffix(".tokenizer.json").write_text("{}"), "not a tokenizer"),
    ],
)
def test_damaged_files_are_named(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    """Oracle: the message says which damage was done."""
    damage(copy)
    with pytest.raises(ModelFileError, match=message):
        load_tiny(copy)


@pytest.fixture(scope="module")
def with_lexicon(tiny: TCL) -> TCL:
    """A text tower that ends in a lexicon of 3,317 random words."""
    torch.manual_seed(0)
    config = replace(read_tiny_config(), lexicon_size=3317, decoder_width=0)
    model = build_tiny(config, tiny.text_encoder.tokenizer).eval()  # type: ignore[arg-type]
    encoder = model.text_encoder
    assert isinstance(encoder, TinyTextEncoder)
    assert isinstance(encoder.head, LexiconHead)
    encoder.quantize(torch.randn(config.vocabulary_size, config.token_dim))
    encoder.head.set_keys(torch.randn(3317, config.key_dim))
    encoder.head.set_values(torch.randn(3317, config.embed_dim))
    return model


def test_lexicon_head_mixes_the_words(with_lexicon: TCL) -> None:
    """Oracle: softmax and mean in float, of keys and values before they were rounded."""
    head = with_lexicon.text_encoder.head
    assert isinstance(head, LexiconHead)
    chance = torch.Generator().manual_seed(1)
    keys, values, x = (torch.randn(n, d, generator=chance) for n, d in ((3317, 128), (3317, 256), (5, 128)))
    keys *= 0.2  # logits as wide as in use; rounding them costs the more the wider they are
    head.set_keys(keys)
    head.set_values(values)
    with torch.inference_mode():
        scores = head.query(x) @ keys.T + head.bias
        torch.testing.assert_close(head.scores(x, keys), scores)
        torch.testing.assert_close(head(x), scores.softmax(dim=1) @ values, rtol=0, atol=0.05)


def test_lexicon_survives_the_file(with_lexicon: TCL, tmp_path: Path) -> None:
    """Oracle: what was saved; only the transformer's matrices are halved. The text tower stays below 6 MB."""
    config = replace(read_tiny_config(), lexicon_size=3317, decoder_width=0)
    save_tiny(with_lexicon, config, tmp_path / "lexicon.safetensors")
    again = load_tiny(tmp_path / "lexicon.safetensors")
    tokens = again.text_encoder.tokenize(["red car", "road"])
    with torch.inference_mode():
        expected = with_lexicon.encode_text(tokens)
        torch.testing.assert_close(again.encode_text(tokens), expected, rtol=0, atol=0.05 * float(expected.abs().max()))
    assert text_bytes(tmp_path / "lexicon.safetensors") <= 6_000_000


# The exporter itself, inside torch, still calls what its own newer version deprecates.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.usefixtures("operators_read_once")
@pytest.mark.parametrize("which", ["tiny", "with_lexicon"])
def test_text_tower_exports_with_any_number_and_length(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Oracle: PyTorch on other shapes than the traced ones; the table and the lexicon must stay in int8."""
    tiny: TCL = request.getfixturevalue(which)
    count, length = torch.export.Dim("count", min=1, max=4096), torch.export.Dim("length", min=1, max=16)
    file = tmp_path / "text.onnx"
    torch.onnx.export(
        tiny.text_encoder,
        (tiny.text_encoder.tokenize(["red car", "road"]),),
        str(file),
        dynamo=True,
        opset_version=20,
        dynamic_shapes=({0: count, 1: length},),
        external_data=False,
        verbose=False,
    )
    assert file.stat().st_size < 6_500_000
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for words in (["cat"], ["a photo of a very small wooden boat", "sky", "asphalt"]):
        tokens = tiny.text_encoder.tokenize(words)
        (exported,) = session.run(None, {session.get_inputs()[0].name: tokens.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(exported, tiny.encode_text(tokens).numpy(), rtol=1e-3, atol=1e-4)
