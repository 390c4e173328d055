"""Prompt templates, their averaging, synonyms, and what is too long to be read."""

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from tcl_core import TextEncoder
from tcl_core.prompts import TEMPLATE_NAMES, Word, embed_words, merge_synonyms, parse_words, templates
from tcl_core.towers.clip_text import TruncatedTextWarning, lost_part, tokenize


class Letters(TextEncoder):
    """Embeds a text as its counts of letters: known numbers, of different lengths."""

    embed_dim, context_length = 26, None

    def __init__(self) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(()))

    def tokenize(self, texts: list[str]) -> Tensor:
        rows = [[text.lower().count(chr(ord("a") + i)) for i in range(26)] for text in texts]
        return torch.tensor(rows)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.float()


@pytest.mark.parametrize(
    ("name", "count", "averaging"),
    [("none", 1, "raw"), ("simple", 1, "raw"), ("custom", 9, "raw"), ("full", 80, "unit"), ("maskclip", 85, "unit")],
)
def test_sets(name: str, count: int, averaging: str) -> None:
    """Oracle: the counts that the methods publish."""
    found = templates(name)
    assert (len(found.prompts), found.averaging) == (count, averaging)
    assert all(prompt.count("{}") == 1 for prompt in found.prompts)
    assert len(set(found.prompts)) == count
    assert name in TEMPLATE_NAMES


def test_unknown_set() -> None:
    with pytest.raises(ValueError, match="no templates 'ful': expected one of simple, custom"):
        templates("ful")


@pytest.mark.parametrize("name", TEMPLATE_NAMES)
def test_averaging(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the rule written out, one prompt at a time; 1e-5. Chunks do not matter."""
    prompts, encoder = templates(name), Letters()
    expected = []
    for word in ("cat", "traffic light"):
        rows = torch.stack([encoder(encoder.tokenize([prompt.format(word)]))[0] for prompt in prompts.prompts])
        if prompts.averaging == "unit":
            rows = rows / rows.norm(dim=1, keepdim=True)
        mean = rows.mean(dim=0)
        expected.append(mean / mean.norm())
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr("tcl_core.prompts.CHUNK", 7)
    found = embed_words(encoder, ["cat", "traffic light"], prompts, progress=lambda *n: seen.append(n))
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-5)
    assert seen[-1] == (2 * len(prompts.prompts),) * 2


def test_no_words() -> None:
    with pytest.raises(ValueError, match="no words were given"):
        embed_words(Letters(), [], templates("simple"))


def test_words_and_synonyms() -> None:
    assert parse_words("cat,  sofa | couch , traffic   light") == [
        Word("cat", ("cat",)),
        Word("sofa", ("sofa", "couch")),
        Word("traffic light", ("traffic light",)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty word"),
        ("cat,,dog", "an empty word"),
        ("a|", "an empty word"),
        ("cat, dog, cat", "given twice: cat"),
    ],
)
def test_words_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_words(text)


def test_synonyms_are_merged_by_their_maximum() -> None:
    """Oracle: worked out by hand; exact."""
    masks = torch.tensor([0.1, 0.5, 0.9, 0.3]).view(1, 4, 1, 1)
    words = [Word("a", ("a",)), Word("b", ("b", "c")), Word("d", ("d",))]
    assert torch.equal(merge_synonyms(masks, words).flatten(), torch.tensor([0.1, 0.9, 0.3]))


def test_what_is_cut_off_is_quoted() -> None:
    """Oracle: open_clip's tokenizer cuts silently, and gives the same tokens."""
    tokenizer = SimpleTokenizer(context_length=77)
    text = "dog " * 75 + "chasing a red ball"
    with pytest.warns(
        TruncatedTextWarning, match="only 77 tokens of a text are read; this was left out: 'chasing a red ball'"
    ):
        tokens = tokenize(tokenizer, [text, "cat"], 77, 49408)
    assert torch.equal(tokens, tokenizer([text, "cat"]))
    assert lost_part(tokenizer, "dog " * 75, 77) == ""


def test_tokenizer_of_another_vocabulary() -> None:
    with pytest.raises(ValueError, match="this model knows 128 tokens and its tokenizer made number"):
        tokenize(SimpleTokenizer(context_length=77), ["cat"], 77, 128)
