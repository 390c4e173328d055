"""Label Studio's tasks. Oracles: a stroke that its own converter packed, and its format unpacked bit by bit."""

import json
from urllib.parse import unquote

import numpy as np


def unpacked(rle: list[int]) -> np.ndarray:
    """Unpack thi.ng's rle-pack, which Label Studio's brush uses, one bit after the other."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def read(width: int) -> int:
        nonlocal place
        place += width
        return int(bits[place - width : place], 2)

    count, word, sizes = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated, length = read(1), read(sizes[read(2)]) + 1
        values += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    assert len(values) == count
    return np.array(values)


# What label-studio-converter 0.0.59 makes of this mask.
STROKE = [0, 0, 0, 60, 57, 27, 254, 23, 0, 183, 255, 56, 4, 127, 241, 128, 71, 255, 24, 0]
MASK = [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0]]


def rgba(mask: np.ndarray) -> np.ndarray:
    return np.repeat(255 * mask.ravel(), 4)


def test_the_format_is_read_here_as_it_is_there() -> None:
    assert np.array_equal(unpacked(STROKE), rgba(np.array(MASK)))


def test_strokes_are_the_regions(write, frames, names) -> None:
    tasks = json.loads(write("out.labelstudio.json", frames).read_text())
    assert [unquote(task["data"]["image"]).removeprefix("/data/local-files/?d=") for task in tasks] == names
    assert "<" not in tasks[0]["data"]["image"]
    for task, (result, _) in zip(tasks, frames, strict=True):
        (prediction,) = task["predictions"]
        total = np.zeros(result.mask.shape, int)
        for stroke in prediction["result"]:
            assert (stroke["type"], stroke["from_name"], stroke["to_name"]) == ("brushlabels", "words", "image")
            assert (stroke["original_height"], stroke["original_width"]) == result.mask.shape
            assert stroke["value"]["format"] == "rle"
            (word,) = stroke["value"]["brushlabels"]
            picture = unpacked(stroke["value"]["rle"]).reshape(*result.mask.shape, 4)
            assert (picture == picture[..., :1]).all()
            total += result.names.index(word) * (picture[..., 0] == 255)
        assert np.array_equal(total, result.mask)
    identities = [stroke["id"] for task in tasks for stroke in task["predictions"][0]["result"]]
    assert len(set(identities)) == len(identities)


def test_long_runs_are_split(write, frames) -> None:
    """A run of 16 bits ends after 65,536 bytes, 16,384 pixels; here one is as long as that, and one is longer."""
    (result, frame), _ = frames
    mask = np.zeros((2, 50_000), np.uint8)
    mask[0, 16_384:40_000] = 1
    result = type(result)(mask, result.names, frame.image, result.soft_masks, None, result.colours, 0, {})
    (task,) = json.loads(write("out.labelstudio.json", [(result, frame)]).read_text())
    (stroke,) = task["predictions"][0]["result"]
    assert np.array_equal(unpacked(stroke["value"]["rle"]), rgba(mask))


def test_a_stopped_one_is_a_whole_list(write, frames) -> None:
    assert len(json.loads(write("out.labelstudio.json", frames[:1], complete=False).read_text())) == 1
