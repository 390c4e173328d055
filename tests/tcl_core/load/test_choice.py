"""The one choice of a model. Oracles: what each part may be with what, by hand; a fresh interpreter."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tcl_core.errors import ConfigError
from tcl_core.load.choice import ModelChoice
from tcl_core.load.model import load_model
from tcl_core.load.options import Head, Templates
from tcl_core.prompts import TEMPLATE_NAMES
from tcl_core.towers.heads import LAST_BLOCK_RULES
from tcl_core.towers.names import HEADS


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": "tiny", "pretrained": "openai"}, "tiny brings its own weights"),
        ({"model": "tiny", "head": "naclip"}, "tiny brings its own weights"),
        ({"model": "tiny", "tokenizer": Path("words")}, "tiny brings its own weights"),
        ({"model": "ViT-B-16", "head": "mascclip"}, "no head 'mascclip': did you mean maskclip"),
        (
            {"model": "ViT-B-16", "head": "naclip", "checkpoint": Path("tcl.pth")},
            "training-free and takes no checkpoint",
        ),
        ({"model": "ViT-B-16", "checkpoint": Path("nowhere.pth")}, r"no checkpoint nowhere\.pth"),
        ({"model": "missing.pt"}, r"no file missing\.pt"),
        ({"model": "out/missing"}, "no file out/missing: .* a directory that training wrote"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelChoice(**parts)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a directory without config\.json: expected one that training wrote"):
        ModelChoice(str(tmp_path))


def test_a_file_brings_its_own_weights(tmp_path: Path) -> None:
    (tmp_path / "clip.pt").write_bytes(b"")
    with pytest.raises(ConfigError, match="is a file and 'openai' names other weights"):
        ModelChoice(str(tmp_path / "clip.pt"), pretrained="openai")


def test_a_trained_directory_has_a_head_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert ModelChoice(str(tmp_path)).chosen_head == "tcl"
    assert ModelChoice(str(tmp_path), pretrained="moved/ViT-B-16.pt").kind == "trained"
    with pytest.raises(ConfigError, match="brings its own weights, head and tokenizer"):
        ModelChoice(str(tmp_path), head="sclip")


def test_the_head_that_is_meant() -> None:
    assert ModelChoice("ViT-B-16").chosen_head == "maskclip"
    assert ModelChoice("ViT-B-16", head="tcl").chosen_head == "tcl"
    assert ModelChoice().chosen_head == "tcl"


def test_names_are_those_of_the_code() -> None:
    """Oracle: the rules and templates themselves; both lists of names are apart from them, to be quick."""
    assert ("tcl", *LAST_BLOCK_RULES) == HEADS
    assert all(name in Head.__metadata__[0].help for name in HEADS)
    assert all(name in Templates.__metadata__[0].help for name in TEMPLATE_NAMES)


def test_mistakes_are_told_before_pytorch_is_imported() -> None:
    code = (
        "import sys\nfrom tcl_core.load.choice import ModelChoice\n"
        "try: ModelChoice('tiny', head='foo')\nexcept ValueError: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_words_that_count_as_background() -> None:
    """By hand: the model's own without those that are looked for; what was typed; none."""
    tiny = load_model(ModelChoice())
    own = tiny.background_words(None, ())
    assert tuple(word.name for word in own) == tiny.background
    assert tiny.background_words(None, own[:1]) == own[1:]
    assert [word.synonyms for word in tiny.background_words("wall, floor|ground", ())] == [
        ("wall",),
        ("floor", "ground"),
    ]
    assert tiny.background_words(" ", ()) == ()
