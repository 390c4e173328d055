"""What people have, segmented. Oracles: the frames that must have been seen, as arrays; files read back."""

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from runtime import Bundle, FakeEngine, Segmenter
from runtime.errors import EngineError, FrameError, SinkNameError, SourceError, SourceNotFoundError, VocabularyError
from runtime.sources.source import Frame, Source

PATTERN = "test://pattern?frames=3&size=64x48"
BGR = np.random.default_rng(5).integers(0, 256, (12, 20, 3)).astype(np.uint8)
GREY = np.random.default_rng(6).integers(0, 65536, (12, 20)).astype(np.uint16)
RGB = np.ascontiguousarray(BGR[..., ::-1])
CHW = torch.from_numpy(RGB).permute(2, 0, 1)


def one_mask_a_word(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Masks (1,N,2,2) whose values are the means of the rows of text."""
    means = inputs["text"].mean(axis=1)
    return np.broadcast_to(means[None, :, None, None], (1, len(means), 2, 2)).copy()


@pytest.fixture(scope="module")
def quick(tiny: Bundle) -> Iterator[Segmenter]:
    """A segmenter in which no network runs."""
    engine = FakeEngine(one_mask_a_word, tiny.manifest.segmenter)
    with Segmenter(tiny, "car, road", refine="none", engine=engine) as opened:
        yield opened


def seen(segmenter: Segmenter, given: object, **options: object) -> list[np.ndarray]:
    """The frames that results are of."""
    return [result.frame for result in segmenter.predict(given, **options)]


def equal(found: list[np.ndarray], *expected: np.ndarray) -> bool:
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


def test_arrays_alone_and_in_every_collection(quick: Segmenter) -> None:
    other = BGR[:, ::-1]
    assert equal(seen(quick, BGR), BGR)
    assert equal(seen(quick, np.stack([BGR, other])), BGR, other)
    for collection in ([BGR, other], (BGR, other), iter([BGR, other]), [[BGR], (other,)], (a for a in (BGR, other))):
        assert equal(seen(quick, collection), BGR, other)
    assert seen(quick, []) == []
    for given in (RGB, np.dstack([RGB, RGB[..., :1]]), [RGB], RGB[None]):
        assert equal(seen(quick, given, rgb=True), BGR)
    assert equal(seen(quick, GREY, rgb=True), np.dstack([(GREY >> 8).astype(np.uint8)] * 3))


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.fromarray(RGB), BGR),
        (Image.fromarray(np.dstack([RGB, RGB[..., :1]])), BGR),
        (Image.fromarray(RGB[..., 0]), np.dstack([RGB[..., 0]] * 3)),
        (Image.fromarray(RGB[..., 0] > 99), np.dstack([255 * (RGB[..., 0] > 99).astype(np.uint8)] * 3)),
        (Image.fromarray(RGB // 64 * 64).convert("P", palette=Image.Palette.ADAPTIVE), None),
        (Image.fromarray(GREY), np.dstack([(GREY >> 8).astype(np.uint8)] * 3)),
        (Image.fromarray(GREY.astype(np.int32)), np.dstack([(GREY >> 8).astype(np.uint8)] * 3)),
    ],
    ids=["RGB", "RGBA", "L", "1", "P", "I;16", "I"],
)
def test_pillow_pictures_of_every_mode(picture: Image.Image, expected: np.ndarray | None, quick: Segmenter) -> None:
    if expected is None:
        expected = np.asarray(picture.convert("RGB"))[..., ::-1]
    assert equal(seen(quick, [picture]), expected)
    assert equal(seen(quick, picture), expected)


@pytest.mark.parametrize(("orientation", "turned"), [(1, BGR), (3, BGR[::-1, ::-1]), (6, np.rot90(BGR, -1))])
def test_pillow_pictures_are_turned_upright(
    orientation: int, turned: np.ndarray, quick: Segmenter, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as picture:
        (result,) = quick.predict(picture)
    assert np.array_equal(result.frame, turned)
    assert result.path == tmp_path / "a.png"


def test_pillow_pictures_without_a_white_are_refused(quick: Segmenter) -> None:
    with pytest.raises(FrameError, match='mode F given.*convert it to "L"'):
        quick.predict(Image.fromarray(GREY.astype(np.float32)))
    with pytest.raises(FrameError, match="picture of 0 to 70000 given, expected 16 bits"):
        quick.predict(Image.fromarray(np.array([[0, 70000]], np.int32)))


@pytest.mark.parametrize(
    "tensor",
    [
        CHW,
        CHW[None],
        CHW / 255,
        (CHW / 255).double(),
        (CHW / 255).half(),
        (CHW / 255).requires_grad_(),
        torch.cat([CHW, CHW[:1]]),
        (CHW / 255)[None] + 5e-4,
    ],
    ids=["uint8", "batch", "float", "double", "half", "grad", "RGBA", "over by rounding"],
)
def test_tensors_are_rgb(tensor: torch.Tensor, quick: Segmenter) -> None:
    assert equal(seen(quick, tensor), BGR)
    assert equal(seen(quick, [tensor, BGR]), BGR, BGR)


def test_tensors_of_several_pictures_and_of_grey(quick: Segmenter) -> None:
    assert equal(seen(quick, torch.stack([CHW, CHW.flip(2)])), BGR, BGR[:, ::-1])
    assert equal(seen(quick, CHW[:1]), np.dstack([RGB[..., 0]] * 3))
    assert seen(quick, torch.zeros(0, 3, 8, 8)) == []
    assert np.abs(seen(quick, (CHW / 255).bfloat16())[0].astype(int) - BGR).max() <= 1


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (CHW.permute(1, 2, 0), r"tensor of shape \(12, 20, 3\).*permute"),
        (CHW[0], r"tensor of shape \(12, 20\)"),
        (CHW.int(), "dtype torch.int32 given"),
        (CHW.float(), "tensor of 0 to 255 given, expected 0 to 1: divide by 255"),
        (CHW / 255 - 0.5, "given, expected 0 to 1"),
        (CHW * torch.nan, "tensor of nan to nan given"),
    ],
)
def test_tensors_that_are_no_pictures_are_refused(tensor: torch.Tensor, message: str, quick: Segmenter) -> None:
    with pytest.raises(FrameError, match=message):
        quick.predict(tensor)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (None, "None"),
        (b"a.jpg", "bytes"),
        (memoryview(b"x"), "memoryview"),
        (bytearray(b"x"), "bytearray"),
        ({"image": BGR}, "dict"),
        (MappingProxyType({}), "mappingproxy"),
        ({"a.jpg"}, "set"),
        (3.5, "float"),
        (True, "bool"),
        (object(), "object"),
        ([BGR, None], "None"),
        ([[1, 2], [3, 4]], "int"),
    ],
)
def test_what_is_not_taken_is_named_at_once(given: object, name: str, quick: Segmenter) -> None:
    for stream in (False, True):
        with pytest.raises(TypeError, match=f"^{name} given, expected a frame as a NumPy array"):
            quick.predict(given, stream=stream)


def test_what_an_iterator_yields_is_judged_when_it_comes(quick: Segmenter) -> None:
    results = quick.predict(iter([BGR, b"x"]), stream=True)
    assert np.array_equal(next(results).frame, BGR)
    with pytest.raises(TypeError, match=r"^bytes given.*cv2\.imdecode"):
        next(results)


def test_an_open_file_is_not_taken_for_lines(quick: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\n")
    with (tmp_path / "list.txt").open() as file, pytest.raises(TypeError, match="TextIOWrapper given"):
        quick.predict(file)


def test_iterators_may_be_endless(quick: Segmenter) -> None:
    fetched = []
    frames = (fetched.append(i) or BGR for i in itertools.count())
    results = quick.predict(frames, stream=True)
    assert fetched == []
    assert [next(results).index for _ in range(3)] == [0, 1, 2]
    assert fetched == [0, 1, 2]


def pictures(folder: Path, *names: str) -> list[Path]:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((8, 9, 3), 20 * number, np.uint8))
    return [folder / name for name in names]


def test_paths_and_sources_in_a_list_are_one_stream(quick: Segmenter, tmp_path: Path) -> None:
    """Oracle: the pattern's own frames and times."""
    first, second = pictures(tmp_path, "a.png", "b.png")
    results = quick.predict([first, PATTERN, BGR, str(second)])
    assert [r.index for r in results] == list(range(6))
    assert [int(r.frame[0, 0, 0]) for r in (results[0], results[-1])] == [0, 20]
    times = [r.time_s for r in results]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    own = [r.time_s for r in quick.predict(PATTERN)]
    assert np.diff(times[1:4]) == pytest.approx(np.diff(own))


def test_a_path_is_never_a_camera_or_an_address(
    quick: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path, "2024/a.png")
    assert len(quick.predict(Path("2024"))) == 1
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        quick.predict(Path("0"))
    with pytest.raises(SourceNotFoundError, match="item 1 of the tuple: source 'none.png' does not exist"):
        quick.predict((BGR, "none.png"))


class Reel(Source):
    """Two frames of a file, the second of which cannot be read."""

    count = 2
    closed = False

    def __iter__(self) -> Iterator[Frame]:
        yield Frame(BGR, 0, 0.25, "one", Path("reels/one.mp4"))
        self.problems.append("two: damaged")

    def close(self) -> None:
        self.closed = True


def test_a_result_knows_where_it_comes_from_and_what_is_skipped_is_told(quick: Segmenter) -> None:
    for given in (Reel(), [Reel()]):
        with pytest.warns(UserWarning, match="skipped 1: two: damaged"):
            (result,) = quick.predict(given)
        assert (result.path, result.index, result.time_s) == (Path("reels/one.mp4"), 0, 0.25)
        assert repr(result).startswith("<Segmentation one.mp4 #0 20x12: ")
    direct = quick(BGR)
    assert (direct.path, direct.index, direct.time_s) == (None, 0, None)


def test_a_source_is_closed_when_nobody_asks_for_more(quick: Segmenter) -> None:
    reel = Reel()
    results = quick.predict(reel, stream=True)
    next(results)
    results.close()
    assert reel.closed


def test_words_for_one_call_leave_the_segmenters(quick: Segmenter) -> None:
    assert quick.predict(BGR, classes="wheel")[0].names[-1] == "wheel"
    assert quick.names == ("background", "car", "road")
    abandoned = quick.predict([BGR, BGR], classes=["sky", "tree"], stream=True)
    assert next(abandoned).names[-2:] == ("sky", "tree")
    assert quick(BGR).names == ("background", "car", "road")
    assert next(abandoned).names[-2:] == ("sky", "tree")
    with pytest.raises(VocabularyError):
        quick.predict(BGR, classes="", stream=True)
    assert quick.names == ("background", "car", "road")


def test_results_are_saved_as_the_command_saves_them(quick: Segmenter, tmp_path: Path) -> None:
    results = quick.predict(PATTERN, save=tmp_path / "o.mp4")
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    assert sum(capture.read()[0] for _ in range(5)) == len(results) == 3
    with pytest.raises(SinkNameError, match=r"o\.mp4 exists"):
        quick.predict(PATTERN, save=tmp_path / "o.mp4")
    quick.predict(PATTERN, save=tmp_path / "o.mp4", overwrite=True)
    quick.predict([BGR, BGR], save=f"{tmp_path}/p/")
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == ["000000.png", "000001.png"]
    assert np.array_equal(cv2.imread(str(tmp_path / "p/000000.png")), quick(BGR, overlay=True).plot())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.mp4", "p"]


def test_what_is_left_before_its_end_is_partial(quick: Segmenter, tmp_path: Path) -> None:
    results = quick.predict(PATTERN, save=tmp_path / "o.mp4", stream=True)
    next(results)
    results.close()
    assert [p.name for p in tmp_path.iterdir()] == ["o.partial.mp4"]


def test_a_source_among_several_is_never_replaced(quick: Segmenter, tmp_path: Path) -> None:
    first, second = pictures(tmp_path, "a.png", "b.png")
    before = first.read_bytes()
    for given in ([second, str(first)], first):
        with pytest.raises(SinkNameError, match="is the source itself"):
            quick.predict(given, save=first, overwrite=True)
    assert first.read_bytes() == before


def test_equal_names_get_files_of_their_own(quick: Segmenter, tmp_path: Path) -> None:
    given = pictures(tmp_path, "left/a.png", "right/a.png", "000003.png")
    results = quick.predict([*given, BGR, PATTERN, PATTERN], save=f"{tmp_path}/out/")
    assert len(list((tmp_path / "out").rglob("*.png"))) == len(results) == 10


def test_nothing_is_warned_of_where_nothing_is_skipped(quick: Segmenter) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(quick.predict([BGR, PATTERN])) == 4


def test_a_closed_segmenter_says_so(tiny: Bundle) -> None:
    """Also to a stream that was begun before."""
    with Segmenter(tiny, "car", size=128, refine="none") as segmenter:
        stream = segmenter.predict([BGR, BGR], stream=True)
        next(stream)
        segmenter.close()
        segmenter.close()
        for call in (lambda: next(stream), lambda: segmenter.predict(BGR), lambda: segmenter(BGR)):
            with pytest.raises(EngineError, match=r"the engine of segmenter\.onnx is closed"):
                call()


def test_an_unreadable_picture_of_a_list_is_an_error(quick: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"a\.png"):
        quick.predict([tmp_path / "a.png"])
