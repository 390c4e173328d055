"""Bags as rosbags writes them: of ROS 1, of ROS 2 in SQLite and in MCAP."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.ros.definitions import store as ros2_store

rosbag1 = pytest.importorskip("rosbags.rosbag1", reason="rosbags is not installed")

from rosbags.rosbag2 import StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402

KINDS = ["ros1.bag", "sqlite3", "mcap", "one.mcap", "one.db3"]

STEP = 10**9
"""Nanoseconds from message to message of a recording."""

BEGIN = 1_700_000_000 * STEP

Written = tuple[str, str, dict[str, Any]]


def image(picture: np.ndarray, encoding: str = "bgr8", **changes: Any) -> dict[str, Any]:
    height, width = picture.shape[:2]
    data = np.frombuffer(picture.tobytes(), np.uint8)
    fields = {"height": height, "width": width, "encoding": encoding, "is_bigendian": 0, "step": data.size // height}
    return {**fields, "data": data, **changes}


def write_bag(path: Path, messages: Iterable[Written]) -> Path:
    """Write messages (topic, type, fields), a second apart; the field `stamp` is (nanoseconds, frame_id).

    Returns:
        The bag: a file or a folder, as its name in `KINDS` says.
    """
    if path.suffix == ".bag":
        store = get_typestore(Stores.ROS1_NOETIC)
        with rosbag1.Writer(path) as writer:
            _write(writer, store, messages)
        return path
    store = ros2_store()
    folder = path.with_suffix("") if path.suffix else path
    plugin = StoragePlugin.MCAP if "mcap" in path.name else StoragePlugin.SQLITE3
    with Writer(folder, version=8, storage_plugin=plugin) as writer2:
        _write(writer2, store, messages)
    return next(folder.glob("*.mcap" if plugin == StoragePlugin.MCAP else "*.db3")) if path.suffix else folder


def _write(writer: Any, store: Any, messages: Iterable[Written]) -> None:
    connections: dict[str, Any] = {}
    ros1 = not hasattr(writer, "storage_plugin")
    for number, (topic, kind, fields) in enumerate(messages):
        if topic not in connections:
            connections[topic] = writer.add_connection(topic, kind, typestore=store)
        nanoseconds, frame_id = fields.get("stamp", (0, ""))
        time = store.types["builtin_interfaces/msg/Time"](*divmod(nanoseconds, 10**9))
        sequence = {"seq": number} if ros1 else {}
        header = store.types["std_msgs/msg/Header"](**sequence, stamp=time, frame_id=frame_id)
        rest = {name: value for name, value in fields.items() if name != "stamp"}
        message = (
            store.types[kind](header, **rest)
            if "data" in fields and kind.startswith("sensor")
            else store.types[kind](**rest)
        )
        data = store.serialize_ros1(message, kind) if ros1 else store.serialize_cdr(message, kind)
        writer.write(connections[topic], BEGIN + number * STEP, data)
