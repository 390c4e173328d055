"""The eight benchmarks: names, tables, files. Oracle: what was recorded of mmsegmentation's and TCL's own readers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tcl_core.errors import ConfigError, DataConfigError, DataError
from tcl_core.evaluate.label_tables import (
    CONTEXT_IDS,
    cityscapes_table,
    coco_object_table,
    coco_stuff_table,
    context_table,
    reduced,
)
from tcl_core.evaluate.layouts import KEYS, LAYOUTS, open_benchmark
from tcl_core.evaluate.names import class_names, class_words, has_background
from tcl_core.prompts import templates
from tests.tcl_core.evaluate.conftest import EVAL, HEADS, arrays

RECORDED = json.loads((EVAL / "names" / "benchmarks.json").read_text())["benchmarks"]
TABLES = json.loads((EVAL / "names" / "label_tables.json").read_text())
EXPECTED = json.loads((EVAL / "datasets" / "expected.json").read_text())["benchmarks"]
OTHERS = json.loads((EVAL / "names" / "other_name_lists.json").read_text())["lists"]


@pytest.mark.oracle
@pytest.mark.parametrize("key", list(RECORDED))
def test_names_and_places_are_those_recorded(key: str) -> None:
    """Word for word, in order; also where files lie."""
    recorded, layout = RECORDED[key], LAYOUTS[key]
    assert list(class_names(key)) == recorded["names"]
    assert has_background(key) == recorded["with_background"]
    words = class_words(key)[has_background(key) :]
    assert [word.synonyms[0] for word in words] == recorded["text_names"]
    assert Path("data") / layout.root == Path(recorded["data_root"])
    assert (layout.images, layout.masks, layout.split) == (
        recorded["img_dir"],
        recorded["ann_dir"],
        recorded["split"],
    )
    assert (layout.image_suffix, layout.mask_suffix) == (recorded["img_suffix"], recorded["seg_map_suffix"])
    assert layout.reduce_zero == recorded["reduce_zero_label"]
    assert recorded["images_in_split"] in layout.counts


@pytest.mark.oracle
def test_all_benchmarks_are_there() -> None:
    assert set(KEYS) == set(RECORDED) == set(LAYOUTS)


@pytest.mark.oracle
@pytest.mark.parametrize("name", [name for name in OTHERS if name.startswith(("groupvit", "maskclip"))])
def test_names_of_other_authors(name: str) -> None:
    """Oracle: their own lists, which are ours with a few words for others."""
    system, key = name.split("_", 1)
    assert [word.synonyms for word in class_words(key, system)] == [(other,) for other in OTHERS[name]]
    assert [word.name for word in class_words(key, system)] == list(class_names(key))


@pytest.mark.oracle
def test_names_of_sclip() -> None:
    """Oracle: the lists of its repository, several names a class."""
    recorded = json.loads((HEADS / "sclip_protocol.json").read_text())["names"]
    assert {key: [list(word.synonyms) for word in class_words(key, "sclip")] for key in recorded} == recorded


@pytest.mark.oracle
def test_templates_are_those_recorded() -> None:
    recorded = json.loads((EVAL / "names" / "templates.json").read_text())
    assert list(templates("custom").prompts) == recorded["custom"]
    assert list(templates("simple").prompts) == recorded["simple"]
    assert list(templates("maskclip").prompts) == recorded["full+maskclip"]


@pytest.mark.oracle
def test_tokens_are_those_recorded() -> None:
    """Oracle: the token ids of every prompt of every class, by the reference; open_clip's tokenizer is ours."""
    from open_clip import tokenize

    recorded = arrays("names/prompt_tokens")
    for place, tokens in recorded.items():
        name, key = place.split("/")
        if name != "custom":
            continue
        prompts = templates(name)
        words = class_words(key)[has_background(key) :]
        ours = tokenize([text for word in words for text in prompts.fill(word.synonyms[0])])
        np.testing.assert_array_equal(ours.numpy().reshape(tokens.shape), tokens)


@pytest.mark.oracle
def test_tables_are_those_recorded() -> None:
    """All 256 numbers of each, those too that no rule names."""
    assert coco_stuff_table().tolist() == TABLES["coco_stuff_raw_to_train"]
    assert coco_object_table().tolist() == TABLES["coco_object_raw_to_train"]
    assert cityscapes_table().tolist() == TABLES["cityscapes_id_to_train"]
    assert reduced(np.arange(256, dtype=np.uint8)).tolist() == TABLES["reduce_zero_label"]
    assert list(CONTEXT_IDS) == TABLES["pascal_context_sorted_ids_459"]
    assert [int(context_table()[number]) for number in CONTEXT_IDS] == list(range(len(CONTEXT_IDS)))
    assert int(np.count_nonzero(context_table())) == len(CONTEXT_IDS) - 1


@pytest.mark.oracle
@pytest.mark.parametrize("key", KEYS)
def test_pictures_are_listed_as_by_the_reference(key: str, eval_data: Path) -> None:
    """Oracle: the order of its own list: that of the split file, else of the paths below the folder."""
    benchmark = open_benchmark(eval_data, key)
    root = eval_data / LAYOUTS[key].root
    for kind, folder, listed in (
        ("image", root / LAYOUTS[key].images, EXPECTED[key]["images"]),
        ("mask", root / LAYOUTS[key].masks, EXPECTED[key]["labels"]),
    ):
        paths = [getattr(picture, kind) for picture in benchmark.pictures]
        assert [path.relative_to(folder).as_posix() for path in paths] == listed
    assert open_benchmark(root, key).pictures == benchmark.pictures  # the root itself will do
    assert benchmark.has_background == has_background(key)


@pytest.fixture
def own_data(eval_data: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(eval_data, tmp_path / "data"))


@pytest.mark.parametrize("key", ["voc20", "context59", "ade20k"])
def test_zero_does_not_count_where_it_is_reduced(key: str) -> None:
    """By hand: 0 and 255 do not count, 1 is class 0."""
    numbers = LAYOUTS[key].rule.numbers
    assert [numbers[value] for value in (0, 1, len(class_names(key)), 255)] == [255, 0, len(class_names(key)) - 1, 255]


class TestSplitFiles:
    """A split as other systems write it. Oracle: the same pictures as from a plain one."""

    @pytest.mark.parametrize(
        "written",
        [
            lambda names: b"\xef\xbb\xbf" + "\n".join(names).encode(),
            lambda names: "\r\n".join([*names, "", ""]).encode(),
            lambda names: "".join(f"{name} \t\n" for name in names).encode(),
        ],
        ids=["BOM", "CRLF", "blanks"],
    )
    def test_marks_and_line_ends_do_not_matter(self, own_data: Path, written) -> None:
        names = [picture.name for picture in open_benchmark(own_data, "voc").pictures]
        (own_data / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_bytes(written(names))
        assert [picture.name for picture in open_benchmark(own_data, "voc").pictures] == names

    def test_what_is_no_list_is_refused(self, own_data: Path) -> None:
        split = own_data / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"
        names = [picture.name for picture in open_benchmark(own_data, "voc").pictures]
        split.write_text("\n".join(names), encoding="utf-16")
        with pytest.raises(DataError, match=r"val\.txt cannot be read as UTF-8"):
            open_benchmark(own_data, "voc")
        split.write_text("\n".join([*names, names[0]]))
        with pytest.raises(DataError, match=rf"val\.txt names {names[0]} twice"):
            open_benchmark(own_data, "voc")
        split.write_text("\n\n")
        with pytest.raises(DataConfigError, match=r"no picture in .*val\.txt"):
            open_benchmark(own_data, "voc")
        split.write_text("nothing\n")
        with pytest.raises(DataError, match=r"no picture .*nothing\.jpg, which .*val\.txt names"):
            open_benchmark(own_data, "voc")
        split.unlink()
        with pytest.raises(DataConfigError, match=r"no .*val\.txt"):
            open_benchmark(own_data, "voc")


class TestWrongMasks:
    """Each is named, and what to do about it."""

    def test_label_ids_instead_of_train_ids(self, own_data: Path) -> None:
        """Also where the values alone would pass: the raw file lies beside."""
        benchmark = open_benchmark(own_data, "cityscapes")
        picture = benchmark.pictures[0]
        assert picture.unconverted is not None
        for values, message in (([[7, 26]], "has the value 26"), ([[7, 8]], "holds the numbers of")):
            for path in (picture.mask, picture.unconverted):
                Image.fromarray(np.array(values, np.uint8)).save(path)
            with pytest.raises(DataError, match=rf"{picture.mask.name} {message}.*instead of trainIds.*convert city"):
                benchmark.truth(picture)

    def test_raw_coco_ids(self, own_data: Path) -> None:
        benchmark = open_benchmark(own_data, "coco_stuff")
        picture = benchmark.pictures[0]
        assert picture.unconverted is not None
        for values, message in (([[1, 181]], "has the value 181"), ([[1, 100]], "holds the numbers of")):
            for path in (picture.mask, picture.unconverted):
                Image.fromarray(np.array(values, np.uint8)).save(path)
            with pytest.raises(DataError, match=rf"{picture.mask.name} {message}.*raw COCO ids instead of TrainIds"):
                benchmark.truth(picture)
        same = np.array([[1, 10, 255]], np.uint8)  # the numbers that the conversion leaves as they are
        for path in (picture.mask, picture.unconverted):
            Image.fromarray(same).save(path)
        np.testing.assert_array_equal(benchmark.truth(picture), same)

    def test_a_palette_numbered_anew(self, own_data: Path) -> None:
        """Oracle: Pillow's own optimising writer, which keeps colours and not indices."""
        benchmark = open_benchmark(own_data, "voc")
        picture = benchmark.pictures[0]
        with Image.open(picture.mask) as file:
            file.load()
            used = sorted(set(np.asarray(file).ravel().tolist()))
            file.remap_palette(used).save(picture.mask)
        with pytest.raises(DataError, match=rf"{picture.mask.name} has index \d+ in the colour of class \d+"):
            benchmark.truth(picture)

    def test_a_palette_and_an_index_png_are_the_same(self, own_data: Path) -> None:
        benchmark = open_benchmark(own_data, "voc")
        for picture in benchmark.pictures:
            truth = benchmark.truth(picture)
            with Image.open(picture.mask) as file:
                assert file.mode == "P"
                values = np.asarray(file)
            Image.fromarray(values).save(picture.mask)
            np.testing.assert_array_equal(benchmark.truth(picture), truth)

    def test_pictures_that_are_no_masks(self, own_data: Path) -> None:
        benchmark = open_benchmark(own_data, "voc")
        picture = benchmark.pictures[0]
        for damage, message in (
            (Image.new("RGB", (4, 3)), r"has 3 channels \(RGB\)"),
            (Image.fromarray(np.zeros((3, 4), np.uint16)), "16 bits or more"),
            (Image.new("1", (4, 3)), "is grey of 1 bits"),
            (Image.new("L", (4, 3), 21), "has the value 21: expected 0 to 20 or 255"),
        ):
            damage.save(picture.mask)
            with pytest.raises(DataError, match=f"{picture.mask.name} .*{message}"):
                benchmark.truth(picture)
        picture.mask.unlink()
        with pytest.raises(DataError, match=rf"no mask .*{picture.mask.name} for .*{picture.image.name}"):
            open_benchmark(own_data, "voc")

    def test_masks_that_were_not_made(self, own_data: Path) -> None:
        for path in (own_data / "coco_stuff164k").rglob("*_labelTrainIds.png"):
            path.unlink()
        with pytest.raises(DataError, match=r"no mask .*only \d+\.png, expected `.*convert coco_stuff RAW DIR`"):
            open_benchmark(own_data, "coco_stuff")


def test_what_is_not_there(tmp_path: Path) -> None:
    for key in KEYS:
        with pytest.raises(DataConfigError, match=rf"no .* for {key}: expected "):
            open_benchmark(tmp_path, key)
    with pytest.raises(ConfigError, match="no benchmark 'pascal': expected one of voc, "):
        open_benchmark(tmp_path, "pascal")
    with pytest.raises(ConfigError, match="no list of names 'mine': expected one of benchmark, "):
        class_words("voc", "mine")  # type: ignore[arg-type]
