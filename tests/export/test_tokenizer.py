"""Tokenizers as files. Oracle: open_clip's own tokenizers, token by token."""

import io
import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
import open_clip
import pytest
import sentencepiece
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from export.errors import SubjectError, TokenizerError
from export.subject import load_subject
from export.tokenizer import TokenizerFile, tokenizer_file
from runtime.bundle import TextSpec
from runtime.errors import VocabularyError
from runtime.words.text_encoder import PhraseTokenizer
from tcl_core.load.choice import ModelChoice

LENGTH = 77
WORDS = (
    "a photo of the large cat. itap dog's they're I'll RED Car 3 42nd 1,000 naïve café Ünïcödé façade coöperate ΟΔΟΣ "
    "ΣΊΣΥΦΟΣ Straße İstanbul ǅ ﬁne ﬂower Ｆｕｌｌ １２ “quoted” ‘single’ don’t &amp; &lt;b&gt; R&amp;B &quot; &#39; 猫 "
    "犬と猫 שלום مرحبا привет мир Ελλάδα 🐕 👩‍👩‍👧 🇩🇪 ½ ² ① e\u0301 \u200b \u200d \ufeff ... -- !!! ?! #tag @me a_b "
    "under_score C++ C# 50% $5 €9 ñandú Đà Nẵng हिन्दी ไทย 한국어 かな ㎏ ™ © ´ ` ~ ^ \\ / | [x] {y} (z) <p> = + * 'tis "
    "'S 'T 'RE ’ll n't o'clock rock'n'roll İ ı ß ẞ Ĳ ŉ ﬆ ﬅ \x85 \xa0 \u2028 \u3000 \x7f \x1b[0m"
)
PIECES = re.split(" ", WORDS)
SPACES = (" ", "  ", "\t", "\n", "\u3000", "\xa0")
SCRIPTS = ((32, 126), (0xA0, 0x24F), (0x370, 0x52F), (0x4E00, 0x9FFF), (0x1F300, 0x1F6FF), (0xAC00, 0xD7A3))


def varied_texts(count: int) -> list[str]:
    """Phrases, letters at random and characters of many scripts; none that ftfy takes for wrongly decoded text."""
    chance = random.Random(0)

    def text(number: int) -> str:
        if number % 4 < 2:
            words = (chance.choice(PIECES) + chance.choice(SPACES) for _ in range(chance.randint(1, 6)))
            return "".join(words)
        if number % 4 == 2:
            return "".join(chance.choice("abcdefghijklmnop  ''-ABC123") for _ in range(chance.randint(1, 30)))
        return "".join(chr(chance.randint(*chance.choice(SCRIPTS))) for _ in range(chance.randint(1, 10)))

    texts = (text(number) for number in itertools.count())
    return list(itertools.islice((made for made in texts if ftfy.fix_encoding(made) == made), count))


def phrase_tokenizer(file: TokenizerFile, length: int | None, limit: int | None = None) -> PhraseTokenizer:
    spec = TextSpec(tokenizer="tokenizer.json", pad_id=file.pad_id, unknown_id=file.unknown_id, context_length=limit)
    return PhraseTokenizer(file.json, spec, length)


@pytest.fixture(scope="module")
def clip() -> Any:
    return open_clip.tokenizer.SimpleTokenizer(context_length=LENGTH)


def test_clips_tokenizer_on_varied_texts(clip: Any) -> None:
    ours, texts = phrase_tokenizer(tokenizer_file(clip), LENGTH), varied_texts(2000)
    short = [text for text in texts if len(clip.encode(text)) <= LENGTH - 2]
    assert len(short) > 1950
    expected = clip(short).numpy()
    given = ours(short)
    different = [text for text, a, b in zip(short, given, expected, strict=True) if not np.array_equal(a, b)]
    assert different == []


def test_a_text_decoded_with_the_wrong_code_page_is_not_repaired(clip: Any) -> None:
    """The one difference that is known: open_clip guesses that 'Ã©' was meant to be 'é'."""
    ours = phrase_tokenizer(tokenizer_file(clip), LENGTH)
    assert np.array_equal(clip(["cafÃ©"])[0], clip(["café"])[0])
    assert not np.array_equal(ours(["cafÃ©"]), ours(["café"]))


def test_special_tokens_cannot_be_typed(clip: Any) -> None:
    ours = phrase_tokenizer(tokenizer_file(clip), None)
    (row,) = ours(["a <end_of_text> b"])
    assert list(row).count(clip.eot_token_id) == 1


@pytest.fixture(scope="module")
def unigram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tokenizer of the kind SigLIP has, trained on the spot, as its folder on a hub would look."""
    folder = tmp_path_factory.mktemp("unigram")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=["</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator([text for text in varied_texts(1000) if text.isascii()], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("clean", ["canonicalize", "lower", "whitespace"])
def test_hugging_face_tokenizers_on_varied_texts(unigram: Path, clean: str) -> None:
    theirs = open_clip.tokenizer.HFTokenizer(str(unigram), context_length=64, clean=clean)
    file = tokenizer_file(theirs)
    ours, compared = phrase_tokenizer(file, 64), 0
    for text in varied_texts(800):
        expected = theirs([text])[0].numpy()
        if file.unknown_id in expected:
            with pytest.raises(VocabularyError, match="does not know the word"):
                ours([text])
        elif len(theirs.tokenizer(theirs.clean_fn(text))["input_ids"]) <= 64:
            assert np.array_equal(ours([text])[0], expected), ascii(text)
            compared += 1
    assert compared > 250


def sentencepiece_model(corpus: list[str], rule: str) -> bytes:
    """Train a model laid out as T5's and SigLIP's: unigram; padding, end and unknown are 0, 1 and 2."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=written,
        vocab_size=3000,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name=rule,
        pad_id=0,
        bos_id=-1,
        eos_id=1,
        unk_id=2,
        minloglevel=2,
    )
    return written.getvalue()


@pytest.mark.parametrize("rule", ["nmt_nfkc", "identity"])
def test_siglips_kind_of_tokenizer_on_varied_texts(rule: str, tmp_path: Path) -> None:
    """Oracles: sentencepiece itself after open_clip's own cleaning, and open_clip around transformers' T5 tokenizer."""
    clean, texts = open_clip.tokenizer.get_clean_fn("canonicalize"), varied_texts(3000)
    model = sentencepiece_model([clean(text) for text in texts[::2]], rule)
    given, converted = tmp_path / "given", tmp_path / "converted"
    given.mkdir()
    (given / "spiece.model").write_bytes(model)
    special = {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>", "extra_ids": 0}
    (given / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", **special}))
    transformers.AutoTokenizer.from_pretrained(str(given)).save_pretrained(converted)
    theirs = open_clip.tokenizer.HFTokenizer(str(converted), context_length=64, clean="canonicalize")
    file, plain = tokenizer_file(theirs), sentencepiece.SentencePieceProcessor(model_proto=model)
    ours = phrase_tokenizer(file, 64)
    assert (file.pad_id, file.unknown_id) == (plain.eos_id(), plain.unk_id())
    pieces = {text: [*plain.encode(clean(text)), plain.eos_id()] for text in texts}
    unknown = [text for text, row in pieces.items() if plain.unk_id() in row]
    known = [text for text, row in pieces.items() if plain.unk_id() not in row and len(row) <= 64]
    assert len(unknown) > 100
    assert len(known) > 2000
    expected = np.array([pieces[text] + [file.pad_id] * (64 - len(pieces[text])) for text in known])
    different = [ascii(t) for t, a, b in zip(known, ours(known), expected, strict=True) if not np.array_equal(a, b)]
    assert different == []
    assert np.array_equal(theirs(known).numpy(), expected)
    for text in unknown:
        with pytest.raises(VocabularyError, match="does not know the word"):
            ours([text])


def test_tokenizers_that_a_file_cannot_say_are_refused(unigram: Path, clip: Any) -> None:
    with pytest.raises(TokenizerError, match="rearranges its special tokens"):
        tokenizer_file(open_clip.tokenizer.HFTokenizer(str(unigram), strip_sep_token=True))
    with pytest.raises(TokenizerError, match=r"without a tokenizer\.json"):
        tokenizer_file(object())
    at_random = open_clip.tokenizer.SimpleTokenizer(reduction_mask="random")
    with pytest.raises(TokenizerError, match="drops words at random"):
        tokenizer_file(at_random)


def test_a_folder_without_its_configuration_is_refused(unigram: Path, tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(b"sentencepiece")
    choice = ModelChoice("ViT-B-16-SigLIP", pretrained="random", tokenizer=tmp_path)
    with pytest.raises(SubjectError, match=r"no tokenizer\.json and no tokenizer_config\.json in .*sentencepiece"):
        load_subject(choice)
    with pytest.raises(SubjectError, match="RN50 has CLIP's own tokenizer: leave --tokenizer out"):
        load_subject(ModelChoice("RN50", pretrained="random", tokenizer=unigram))


def test_a_phrase_that_is_too_long_is_refused(clip: Any) -> None:
    with pytest.raises(VocabularyError, match="is 82 tokens long, the model reads 77"):
        phrase_tokenizer(tokenizer_file(clip), LENGTH, LENGTH)(["dog " * 80])
