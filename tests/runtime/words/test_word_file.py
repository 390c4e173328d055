"""Word files. Oracles: written-out expectations, cosines computed pair by pair, and files damaged on purpose."""

import hashlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from runtime import Bundle, Segmenter
from runtime.bundle import BackgroundSpec, Manifest
from runtime.errors import VocabularyError, WordFileError
from runtime.tools import tools
from runtime.words.command import gather
from runtime.words.text_encoder import BundleTextEncoder
from runtime.words.vocabulary import Vocabulary, parse_classes, vocabulary_header
from runtime.words.word_class import WordClass
from runtime.words.word_file import WordFile, merge, near_words, read_word_file, vocabulary_for, write_word_file


def of_another_model(manifest: Manifest) -> Manifest:
    source = manifest.source.model_copy(update={"checkpoint_sha256": "0" * 64})
    return manifest.model_copy(update={"source": source})


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.fixture(scope="module")
def home(tiny: Bundle) -> WordFile:
    return gather(tiny, [], "sofa|couch:0.6, car", background="wall, floor", threshold=0.25)


@pytest.fixture
def path(tiny: Bundle, home: WordFile, tmp_path: Path) -> Path:
    write_word_file(tmp_path / "home.safetensors", home, tiny.manifest)
    return tmp_path / "home.safetensors"


def test_what_was_written_is_read(tiny: Bundle, home: WordFile, path: Path) -> None:
    again = read_word_file(path, tiny.manifest)
    assert again.vocabulary.classes == (WordClass("sofa", ("couch",), 0.6), WordClass("car"))
    assert (again.vocabulary.background, again.vocabulary.threshold) == (("wall", "floor"), 0.25)
    assert np.array_equal(again.vocabulary.embeddings, home.vocabulary.embeddings)
    assert again.templates == tiny.manifest.text.templates
    rows = BundleTextEncoder(tiny, {}).encode(["wall", "floor", "sofa", "couch", "car"])
    np.testing.assert_allclose(again.vocabulary.embeddings, rows, atol=1e-5)


def test_every_flipped_bit_is_noticed(tiny: Bundle, path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    positions = np.random.default_rng(0).integers(0, len(data), 200)
    damaged = tmp_path / "damaged.safetensors"
    for position in positions:
        damaged.write_bytes(flipped(data, int(position)))
        with pytest.raises((WordFileError, VocabularyError), match="python -m runtime words"):  # or another model
            read_word_file(damaged, tiny.manifest)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no word file .it is empty"),
        (b"<html><body>Not found</body></html>", "is no word file .*<html>"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is no word file .*git-lfs"),
        (b"\x80\x04\x95pickle", "is no word file"),
        (b"\xff" * 100, "is no word file"),
        (b"[" * 100_000, "is no word file"),
    ],
)
def test_what_is_no_word_file_is_refused(data: bytes, message: str, tiny: Bundle, path: Path) -> None:
    path.write_bytes(data)
    with pytest.raises(WordFileError, match=message):
        read_word_file(path, tiny.manifest)


def test_truncated_missing_and_foreign_files_are_refused(tiny: Bundle, path: Path) -> None:
    with pytest.raises(VocabularyError, match="was made with the model 'tiny'.* this bundle holds 'tiny'.*build it"):
        read_word_file(path, of_another_model(tiny.manifest))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WordFileError, match="not a vocabulary .*build it again with `python -m runtime words"):
        read_word_file(path, tiny.manifest)
    path.unlink()
    with pytest.raises(VocabularyError, match=r"there is no word file .*home\.safetensors: build it again"):
        read_word_file(path, tiny.manifest)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((1, 256), np.nan, np.float32), "not unit rows"),
        (np.full((1, 256), np.inf, np.float32), "not unit rows"),
        (np.zeros((1, 256), np.float32), "not unit rows"),
        (np.eye(1, 7, dtype=np.float32), r"are float32 \(1, 7\), expected float32 \(1, \d+\)"),
        (np.eye(1, 256, dtype=np.float64), "are float64"),
    ],
)
def test_embeddings_that_no_encoder_gives_are_refused(
    rows: np.ndarray, message: str, tiny: Bundle, tmp_path: Path
) -> None:
    if rows.shape[1] == 256:
        rows = np.resize(rows, (1, tiny.manifest.output.channels))
    path = tmp_path / "bad.safetensors"
    write_word_file(path, WordFile(Vocabulary((WordClass("cat"),), (), None, rows), ()), tiny.manifest)
    with pytest.raises(WordFileError, match=message):
        read_word_file(path, tiny.manifest)


def test_a_word_file_is_written_completely_or_not_at_all(tiny: Bundle, home: WordFile, tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"expected a name ending in \.safetensors"):
        write_word_file(tmp_path / "home.txt", home, tiny.manifest)
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from runtime import Bundle; from runtime.words.command import gather\n"
        "from runtime.words.word_file import write_word_file\n"
        "bundle = Bundle.open('tiny'); words = gather(bundle, [], 'car')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_word_file(Path(sys.argv[1]), words, bundle.manifest)\n"
    )
    target = tmp_path / "home.safetensors"
    done = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=False)
    assert "home.safetensors cannot be written (File too large): make room" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_merging_unites_classes_and_keeps_their_thresholds(tiny: Bundle, home: WordFile) -> None:
    other = gather(tiny, [], "Sofa|settee|Couch, floor:0.4, car:0.3", background="sky, wall", threshold=0.25)
    merged = merge([home, other]).vocabulary
    assert list(map(str, merged.classes)) == ["sofa|couch|settee:0.6", "car:0.3", "floor:0.4"]
    assert merged.background == ("wall", "sky")  # the floor is a class now
    encoder = BundleTextEncoder(tiny, {})
    np.testing.assert_allclose(merged.embeddings, encoder.encode(list(merged.rows)), atol=1e-5)


def test_disagreements_are_explained(tiny: Bundle, home: WordFile) -> None:
    def words(classes: str, threshold: float = 0.25, **options: object) -> WordFile:
        return gather(tiny, [], classes, background="", threshold=threshold, **options)

    with pytest.raises(VocabularyError, match=r"thresholds \[0\.25, 0\.5\]: give --threshold"):
        merge([home, words("cat", threshold=0.5)])
    assert merge([home, words("cat", threshold=0.5)], threshold=0.5).vocabulary.threshold == 0.5
    with pytest.raises(VocabularyError, match="'couch' is given twice"):
        merge([home, words("couch")])
    with pytest.raises(VocabularyError, match="'car' has different embeddings .*different templates"):
        merge([home, words("car", templates=["a photo of a red brick wall beside a {}"])])


def test_templates_change_the_embedding(tiny: Bundle) -> None:
    """Oracle: TCL's rule by hand, the normalised mean of the phrases' embeddings before normalisation."""
    templates = ["a photo of a {}", "the {}"]
    row = gather(tiny, [], "dog", background=None, templates=templates).vocabulary.embeddings[0]
    assert tiny.manifest.text.averaging == "raw"
    tower = BundleTextEncoder(tiny, {})._tower
    raw = tower.engine.infer({"tokens": tower.tokenizer(["a photo of a dog", "the dog"])})["text"].mean(axis=0)
    np.testing.assert_allclose(row, raw / np.linalg.norm(raw), atol=1e-5)
    for template in ("photo", "{} {}", "{x}", "{0}", "{} {", "{}}"):
        with pytest.raises(VocabularyError, match="expected one {} where the word goes"):
            gather(tiny, [], "dog", templates=[template])


def test_near_words_are_those_of_different_classes(tiny: Bundle) -> None:
    """Oracle: the cosine of every pair of phrases."""
    vocabulary = gather(tiny, [], "car|auto, automobile, cat, kitten, tree", background="sky, wall").vocabulary
    rows = vocabulary.rows
    owner = {"car": "car", "auto": "car", "sky": "background", "wall": "background"}
    cosines = {
        (a, b): float(rows[a] @ rows[b])
        for a, b in itertools.combinations(rows, 2)
        if owner.get(a, a) != owner.get(b, b)
    }
    ordered = sorted(cosines.values())
    limit = (ordered[len(ordered) // 2] + ordered[len(ordered) // 2 + 1]) / 2  # between two, whatever is rounded
    expected = {pair: cosine for pair, cosine in cosines.items() if cosine >= limit}
    found = near_words(vocabulary, limit)
    assert ("car", "automobile") in expected
    assert {(pair.first, pair.second) for pair in found} == set(expected)
    assert [pair.cosine for pair in found] == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-6)


def test_the_segmenter_takes_a_word_file_without_a_text_encoder(tiny: Bundle, path: Path) -> None:
    """Words, thresholds and background are the file's; with the encoder the masks are the same."""
    bare = Bundle(tiny.path, tiny.manifest.model_copy(update={"text_encoder": None, "text": None}))
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    with Segmenter(bare, path) as with_file, Segmenter(tiny, "car", background=None) as typed:
        vocabulary = with_file._words.vocabulary
        assert (vocabulary.background, vocabulary.threshold) == (("wall", "floor"), 0.25)
        before = with_file(frame)
        assert before.names == ("background", "sofa", "car")
        typed.set_classes("sofa|couch:0.6, car", background="wall, floor", threshold=0.25)
        assert np.array_equal(typed(frame).mask, before.mask)
        np.testing.assert_allclose(typed(frame).soft_masks, before.soft_masks, atol=1e-4)
        with_file.set_classes(str(path), background="wall", threshold=0.5)
        assert with_file._words.vocabulary.background == ("wall",)
        assert with_file._words.vocabulary.threshold == 0.5
        with pytest.raises(VocabularyError, match="exported without a text encoder"):
            with_file.set_classes(path, background="zeppelin")
        typed.set_classes(path)
        typed.set_classes("sofa", background="sky")  # other words than the file's, after it


@pytest.mark.parametrize(
    ("classes", "background", "threshold", "words", "general"),
    [
        ("background, car", "default", None, "default", 0.3),
        ("car, __Background__", "default", None, "default", 0.3),
        ("background:0.6, car", "default", None, "default", 0.6),
        ("background:60%, car", "default", 0.6, "default", 0.6),
        ("background|wall|floor, car", "default", None, ("wall", "floor"), 0.3),
        ("background|wall:0, car", "default", None, ("wall",), 0.0),
        ("background, car", "sky", 0.2, ("sky",), 0.2),
        ("background, car", "", None, (), 0.3),
    ],
)
def test_a_class_called_background_is_index_0(
    classes: str, background: str, threshold: float | None, words: object, general: float, tiny: Bundle
) -> None:
    """Oracle: the same said by the arguments; indices, names and shares as there."""
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    with Segmenter(tiny, classes, background=background, threshold=threshold) as segmenter:
        vocabulary, result = segmenter._words.vocabulary, segmenter(frame)
        segmenter.set_classes("car", background=words, threshold=general)
        expected = segmenter(frame)
    assert vocabulary.background == segmenter._words.vocabulary.background
    assert vocabulary.threshold == general
    assert result.names == expected.names == ("background", "car")
    assert np.array_equal(result.mask, expected.mask)
    assert sum(result.coverage().values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("classes", "settings", "message"),
    [
        (
            "background, car",
            {"background": None},
            "'background' is among the classes, and there is to be no background",
        ),
        ("car, _background_", {"background": "none"}, "'_background_' is among the classes"),
        ("background|wall, car", {"background": "sky"}, r"given twice, by 'background\|wall' and beside it"),
        ("background:0.3, car", {"threshold": 0.4}, "threshold is given twice, by 'background:0.3' and as 0.4"),
    ],
)
def test_a_background_said_in_two_ways_is_refused(
    classes: str, settings: dict[str, object], message: str, tiny: Bundle
) -> None:
    with pytest.raises(VocabularyError, match=message):
        gather(tiny, [], classes, **settings)


def test_a_bundle_without_a_background_cannot_show_one(tiny: Bundle) -> None:
    manifest = tiny.manifest.model_copy(update={"background": BackgroundSpec()})
    bare, rows = Bundle(tiny.path, manifest), Vocabulary.shipped(tiny).rows
    for classes in ("background, car", "car, Background"):
        with pytest.raises(VocabularyError, match=r"nothing says what .* looks like.* write .ackground\|wall\|floor"):
            vocabulary_for(bare, classes, BundleTextEncoder(bare, rows))
    made = vocabulary_for(bare, "background:0.3, car", BundleTextEncoder(bare, rows))
    assert (made.names, made.constant) == (("background", "car"), 0.3)


def test_word_files_in_capitals_and_lists_in_their_place(tiny: Bundle, path: Path, tmp_path: Path) -> None:
    capital = path.rename(tmp_path / "HOME.SAFETENSORS")
    vocabulary = vocabulary_for(tiny, str(capital), BundleTextEncoder(tiny, {}))
    assert vocabulary.names == ("background", "sofa", "car")
    for name in ("words.txt", "coco.names"):
        with pytest.raises(VocabularyError, match="is a list of words, not a word file: give it as --classes"):
            read_word_file(Path(name), tiny.manifest)


def test_a_background_that_was_chosen_stays_however_near_it_is(tiny: Bundle, tmp_path: Path) -> None:
    chosen = gather(tiny, [], "car", background="automobile")
    write_word_file(tmp_path / "near.safetensors", chosen, tiny.manifest)
    with Segmenter(tiny, tmp_path / "near.safetensors") as segmenter:
        assert segmenter._words.vocabulary.background == ("automobile",)


def test_the_header_is_plain_json(path: Path, tiny: Bundle) -> None:
    header = vocabulary_header(path.read_bytes())
    assert header["fingerprint"] == tiny.manifest.fingerprint
    assert header["model"] == tiny.manifest.source.model
    assert json.loads(json.dumps(header)) == header


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(*arguments: str) -> Result:
    """The command in this process; what it raises and does not explain is raised here."""
    done = CliRunner().invoke(tools, ["words", *arguments], env={"COLUMNS": "160"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def program(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime", "words", *arguments]
    environment = {**os.environ, "COLUMNS": "160"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_builds_merges_and_shows(folder: Path, tiny: Bundle) -> None:
    (folder / "words.txt").write_text("car:0.6\n# comment\nautomobile\nred mug|cup\n")
    built = words("tiny", "--classes", "words.txt", "--near", "-1", "--output", "a.safetensors")
    assert built.exit_code == 0, built.stderr
    for part in ("red mug", "cup", "0.6", "hard to tell apart", "car / automobile", "wrote a.safe"):
        assert part in built.stdout
    merged = words("tiny", "a.safetensors", "--classes", "tree", "--near", "1", "--output", "b.safetensors")
    assert merged.exit_code == 0, merged.stderr
    assert "hard to tell apart" not in merged.stdout
    vocabulary = read_word_file(folder / "b.safetensors", tiny.manifest).vocabulary
    assert vocabulary.classes == parse_classes("car:0.6, automobile, red mug|cup, tree")
    assert "tree" not in vocabulary.background
    shown = words("tiny", "b.safetensors")
    assert "4 classes" in shown.stdout
    own = words("tiny")
    assert "bicycle" in own.stdout
    again = words("tiny", "--classes", "cat", "--output", "a.safetensors")
    assert again.exit_code == 2
    assert "a.safetensors exists: choose another --output, or add --overwrite" in again.stderr
    lost = words("tiny", "a.safetensors", "--template", "the {}")
    assert "templates and background words are for new classes" in lost.stderr
    lost = words("tiny", "a.safetensors", "--background", "sky")
    assert "templates and background words are for new classes" in lost.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", os.fsdecode(b"caf\xe9")], r"the word 'caf\udce9' is no UTF-8"),
        (["--classes", "car", "--background", os.fsdecode(b"stra\xdfe")], r"the word 'stra\udcdfe' is no UTF-8"),
        (["--classes", "car", "--template", os.fsdecode(b"caf\xe9 {}")], r"the word 'caf\udce9 {}' is no UTF-8"),
        ([os.fsdecode(b"w\xf6rter.safetensors")], r"there is no word file w\udcf6rter.safetensors"),
        (["--classes", "words.TXT"], "there is no word list 'words.TXT'"),
        (["--classes", "car: 60"], "write car:0.6 or car:60%"),
    ],
)
def test_the_command_says_what_is_wrong_with_words(arguments: list[str], message: str, folder: Path) -> None:
    done = words("tiny", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_the_command_tells_spelled_words_and_prints_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal that has no more characters than ASCII, with an output that is no UTF-8."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    output = os.fsdecode(b"w\xf6rter[b].safetensors")
    done = program("tiny", "--classes", "Background, café, xqzt", "--output", output, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning: the model only spells 'xqzt' (x-q-z-t): what it finds may mean nothing" in done.stderr
    assert "2 classes" in done.stdout
    assert "caf\\xe9" in done.stdout
    assert "wrote w\\udcf6rter[b].safetensors" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [output]


def test_the_page_is_true(folder: Path, tiny: Bundle) -> None:
    """Oracle: the commands of docs/words.md, run as they stand, and its recipe for the hash."""
    page = (Path(__file__).parents[3] / "docs" / "words.md").read_text(encoding="utf-8")
    commands = [shlex.split(line, comments=True) for line in page.splitlines() if line.startswith("python -m runtime")]
    assert [command[3] for command in commands] == ["words", "words", "words", "street.mp4"]
    assert words("tiny", "--classes", "cup", "--output", "home.safetensors").exit_code == 0
    for command in commands[:3]:
        done = words(*command[4:])
        assert done.exit_code == 0, done.stderr
    both = folder / "both.safetensors"
    vocabulary = read_word_file(both, tiny.manifest).vocabulary
    assert list(map(str, vocabulary.classes)) == ["car:0.6", "automobile", "road|asphalt", "cup", "tree"]
    header = vocabulary_header(both.read_bytes())
    assert set(re.findall(r"`(\w+)`", page[page.index("| entry |") :])) - {"embeddings"} == set(header)
    recorded = header.pop("sha256")
    body = json.dumps(header, sort_keys=True).encode() + vocabulary.embeddings.tobytes()
    assert hashlib.sha256(body).hexdigest() == recorded
