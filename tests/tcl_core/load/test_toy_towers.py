"""The toy's towers. Oracles: by hand; the tokens that a device reads; the directory that training wrote."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tokenizers import Tokenizer

from tcl_core.data.scenes import PHRASES
from tcl_core.load.choice import ModelChoice
from tcl_core.load.model import load_model
from tcl_core.load.toy import ToyTextEncoder, untrained_toy
from tcl_core.train.__main__ import read_config, train

TOY = Path(__file__).parents[3] / "configs" / "toy.yaml"


@pytest.fixture(scope="module")
def text_encoder() -> ToyTextEncoder:
    encoder = untrained_toy().text_encoder
    assert isinstance(encoder, ToyTextEncoder)
    return encoder


def test_names_become_tokens_and_other_words_none(text_encoder: ToyTextEncoder) -> None:
    tokens = text_encoder.tokenize(["a photo of a Red Circle and a blue cross.", "green square"])
    number = {phrase: 1 + k for k, phrase in enumerate(PHRASES)}
    assert tokens.tolist() == [[number["red circle"], number["blue cross"], 0, 0], [number["green square"], 0, 0, 0]]
    on_the_device = Tokenizer.from_str(text_encoder.tokenizer.to_str())
    assert on_the_device.encode("a photo of a Red Circle").ids == [number["red circle"]]


@pytest.mark.parametrize("text", ["a dog", "red", "circle red", "reddish circles", ""])
def test_texts_without_a_name_are_refused(text_encoder: ToyTextEncoder, text: str) -> None:
    with pytest.raises(ValueError, match="without a colour and a shape.*try 'a red circle'"):
        text_encoder.tokenize([text])


def test_a_text_is_the_mean_of_its_names(text_encoder: ToyTextEncoder) -> None:
    """Oracle: each name embedded alone."""
    with torch.no_grad():
        both = text_encoder(text_encoder.tokenize(["red circle, blue cross"]))
        alone = text_encoder(text_encoder.tokenize(["red circle", "blue cross"]))
    torch.testing.assert_close(both[0], alone.mean(dim=0))


def test_a_trained_directory_is_loaded_without_training_the_towers_again(tmp_path: Path) -> None:
    """Oracle: the model in memory; its towers cannot be had elsewhere, so they lie in the directory."""
    small = ("steps=2", "model.toy_steps=2", "data.sources=[{kind: scenes, count: 64, size: 48}]", "validation=null")
    config = read_config([str(TOY), f"output={tmp_path}", "tensorboard=false", *small])
    trained = train(config, console=Console(quiet=True))
    loaded = load_model(ModelChoice(str(tmp_path / "model")))
    expected = trained.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.model.state_dict().items())
    assert loaded.classes[0] == PHRASES[0]
    assert np.isfinite(loaded.model.grounder.similarity_to_mask.bias.item())
