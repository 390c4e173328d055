"""Copy-paste composites. Oracles: colours that give away which object lies where; counts by hand."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tcl_core.data.composites import Composites, is_held_out, open_backgrounds, write_for_evaluation
from tcl_core.data.pairs import folder_pairs
from tcl_core.data.shards import ShardPairs
from tcl_core.errors import DataError
from tcl_core.train.recipe import FolderValidation
from tcl_core.train.validation import build_validator

COLOURS = {"red thing": (255, 0, 0), "green thing": (0, 255, 0), "blue thing": (0, 0, 255)}


@pytest.fixture
def parts(tmp_path: Path) -> tuple[ShardPairs, object]:
    """Three opaque cut-outs with a see-through rim, and one grey background."""
    with tarfile.open(tmp_path / "cutouts.tar", "w") as archive:
        for caption, colour in COLOURS.items():
            image = Image.new("RGBA", (40, 60), (0, 0, 0, 0))
            image.paste((*colour, 255), (5, 5, 35, 55))
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            name = caption.replace(" ", "_")
            for suffix, content in (("png", buffer.getvalue()), ("txt", caption.encode())):
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    (tmp_path / "backgrounds").mkdir()
    Image.new("RGB", (200, 120), (128, 128, 128)).save(tmp_path / "backgrounds" / "grey.png")
    (tmp_path / "backgrounds" / "captions.tsv").write_text("grey.png\ta grey wall\n")
    return ShardPairs.of(str(tmp_path / "cutouts.tar")), open_backgrounds(tmp_path / "backgrounds")


def composites(parts: tuple[ShardPairs, object], **options: object) -> Composites:
    return Composites(*parts, **({"count": 40, "size": 96, "name_background": 0.5} | options))


def test_masks_are_where_the_objects_are(parts: tuple[ShardPairs, object]) -> None:
    """The colour of every pixel well inside tells which object it is."""
    for number in range(40):
        made = composites(parts).compose(number)
        rgb = np.asarray(made.image).astype(int)
        assert rgb.shape == (96, 96, 3)
        for label, phrase in enumerate(made.phrases, start=1):
            inside = made.label_map == label
            assert inside.any()
            near = np.abs(rgb - COLOURS[phrase]).max(axis=-1) < 40
            assert near[inside].mean() > 0.65
            assert inside[near].mean() > 0.95
        assert made.label_map.max() == len(made.phrases)


def test_captions_name_every_object_once_and_the_background_sometimes(parts: tuple[ShardPairs, object]) -> None:
    captions = []
    for number in range(40):
        made = composites(parts).compose(number)
        assert len(set(made.phrases)) == len(made.phrases) >= 1
        assert all(made.caption.count(phrase) == 1 for phrase in made.phrases)
        captions.append(made.caption)
    named = sum("a grey wall" in caption for caption in captions)
    assert 10 <= named <= 30
    assert any(" and " in caption and "," in caption for caption in captions)


def test_a_number_is_always_the_same_picture(parts: tuple[ShardPairs, object]) -> None:
    one, other = composites(parts).compose(7), composites(parts).compose(7)
    assert one.caption == other.caption
    assert one.image.tobytes() == other.image.tobytes()
    assert composites(parts, seed=1).compose(7).image.tobytes() != one.image.tobytes()


def test_no_object_is_hidden_by_more_than_half(parts: tuple[ShardPairs, object]) -> None:
    """By shape: objects are 3 wide and 5 high, so what is seen of one bounds from below how large it was."""
    shares = []
    for number in range(40):
        made = composites(parts, least_objects=3, most_objects=3).compose(number)
        for label in range(1, len(made.phrases) + 1):
            rows, columns = np.nonzero(made.label_map == label)
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            shares.append(len(rows) / max(height * height * 3 / 5, width * width * 5 / 3))
    assert 0.5 <= min(shares) < 0.75  # covered, but not more than it may be


def test_training_sees_no_mask(parts: tuple[ShardPairs, object]) -> None:
    sample = composites(parts).read(3)
    assert set(vars(sample)) == {"image", "caption", "where"}
    assert sample.caption == composites(parts).compose(3).caption


def test_what_is_written_for_evaluation_is_read_by_validation(parts: tuple[ShardPairs, object], tmp_path: Path) -> None:
    """Identity: labels survive the way through files."""
    source = composites(parts)
    write_for_evaluation(source, tmp_path / "eval", range(5))
    validator = build_validator(FolderValidation("folder", str(tmp_path / "eval")), 96)
    assert set(validator.classes) <= set(COLOURS)
    for number, example in enumerate(validator.examples()):
        made = source.compose(number)
        for label, phrase in enumerate(made.phrases, start=1):
            expected = made.label_map == label
            assert ((example.label_map == validator.classes.index(phrase)) == expected).all()
        assert ((example.label_map == len(validator.classes)) == (made.label_map == 0)).all()


def test_backgrounds_may_have_captions_beside_them(parts: tuple[ShardPairs, object], tmp_path: Path) -> None:
    (tmp_path / "backgrounds" / "captions.tsv").unlink()
    (tmp_path / "backgrounds" / "grey.txt").write_text("beside it")
    assert open_backgrounds(tmp_path / "backgrounds").read(0).caption == "beside it"
    assert folder_pairs(tmp_path / "backgrounds").read(0).caption == "beside it"


def test_impossible_settings_and_listings_are_refused(parts: tuple[ShardPairs, object], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="count 0, least_objects 1, most_objects 4.*expected 1 or more"):
        composites(parts, count=0)
    (tmp_path / "backgrounds" / "captions.tsv").write_text("grey.png a grey wall\n")
    with pytest.raises(DataError, match="expected a file name, a tab and a caption"):
        open_backgrounds(tmp_path / "backgrounds")
    with pytest.raises(DataError, match="expected one class a line"):
        build_validator(FolderValidation("folder", str(tmp_path)), 96)


@pytest.fixture
def photos(tmp_path: Path) -> object:
    """Four photographs of one colour each, of odd shapes."""
    directory = tmp_path / "photos"
    directory.mkdir()
    for (caption, colour), size in zip(
        [*COLOURS.items(), ("white thing", (255, 255, 255))], [(70, 31), (30, 90), (50, 50), (33, 64)], strict=True
    ):
        Image.new("RGB", size, colour).save(directory / f"{caption}.png")
        (directory / f"{caption}.txt").write_text(f"{caption}.")
    return folder_pairs(directory)


def test_mosaics_show_two_or_four_photos_and_name_them(parts: tuple[ShardPairs, object], photos: object) -> None:
    """The colour of every pixel tells which photograph it is; each is named once, however often it is shown."""
    colours = COLOURS | {"white thing": (255, 255, 255)}
    layouts = set()
    for number in range(40):
        made = composites(parts, photos=photos, mosaics=1.0).compose(number)
        rgb = np.asarray(made.image).astype(int)
        assert made.caption == ", ".join(made.phrases)
        for label, phrase in enumerate(made.phrases, start=1):
            shown = np.abs(rgb - colours[phrase]).max(axis=-1) == 0
            assert shown.any()
            assert (shown == (made.label_map == label)).all()
        corners = made.label_map[[0, 0, -1, -1], [0, -1, 0, -1]]
        layouts.add((bool(corners[0] != corners[1]), bool(corners[0] != corners[2])))
    assert layouts >= {(True, False), (False, True), (True, True)}


def test_photos_serve_as_backgrounds_in_their_share(parts: tuple[ShardPairs, object], photos: object) -> None:
    """Grey is the wallpaper; every other background is a photograph, and its caption is the one that is named."""
    with_photos = composites(parts, photos=photos, photo_backgrounds=0.5, name_background=1.0)
    ended = [with_photos.compose(number).caption.endswith("on a grey wall") for number in range(60)]
    assert 18 <= sum(ended) <= 42
    everywhere = composites(parts, photos=photos, photo_backgrounds=1.0, name_background=1.0)
    assert not any("grey" in everywhere.compose(number).caption for number in range(20))


def test_without_photos_no_mosaics(parts: tuple[ShardPairs, object]) -> None:
    with pytest.raises(DataError, match="mosaics 0.5.*and no photos"):
        composites(parts, mosaics=0.5)


def test_cutouts_held_out_by_name_are_on_one_side_only(parts: tuple[ShardPairs, object]) -> None:
    """Identity: with any share, what trains and what is left out make up everything; articles and case are no names."""
    cutouts, _ = parts
    captions = {cutouts.caption(number) for number in range(len(cutouts))}
    assert captions == {cutouts.read(number, "RGBA").caption for number in range(len(cutouts))}
    for share in (0.2, 0.5, 0.8):
        sides = [{c for c in captions if is_held_out(c, share) is side} for side in (True, False)]
        assert sides[0] | sides[1] == captions
        for side, expected in zip((True, False), sides, strict=True):
            if expected:
                kept = cutouts.chosen(lambda caption, side=side, share=share: is_held_out(caption, share) is side)
                assert {kept.read(number, "RGBA").caption for number in range(len(kept))} == expected
    assert all(is_held_out("A Red Ball.", share) == is_held_out("red ball", share) for share in np.linspace(0, 1, 50))
    held = np.mean([is_held_out(f"thing {number}", 0.125) for number in range(4000)])
    assert 0.105 < held < 0.145  # four standard deviations
    with pytest.raises(DataError, match="none has a caption that is wanted"):
        cutouts.chosen(lambda _: False)


def test_without_objects_a_background_is_shown_as_it_is(parts: tuple[ShardPairs, object]) -> None:
    """The caption is then the background's own, whatever the share of backgrounds that are named."""
    made = [composites(parts, least_objects=0, name_background=0.0).compose(number) for number in range(40)]
    bare = [composite for composite in made if not composite.phrases]
    assert 2 <= len(bare) <= 20
    assert {composite.caption for composite in bare} == {"a grey wall"}
    assert all(not composite.label_map.any() for composite in bare)
