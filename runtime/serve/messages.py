"""What a viewer is told with every frame: a line of JSON, a newline, the frame as JPEG, the labels as PNG."""

import json
from typing import Any

from runtime.serve.channel import Shot
from runtime.serve.encoding import Packet
from runtime.serve.words import hexadecimal
from runtime.stream.status import Status


def message(packet: Packet | None, shot: Shot | None, status: Status, *, words: bool) -> bytes:
    """Put a message together.

    Args:
        packet: the frame; None where there is no new one, and only the state is told.
        shot: the frame that is told about, and acknowledged: of the packet, or what this viewer got last. There may be
            a newer one by now.
        status: of the stream.
        words: tell what the labels mean, too.
    """
    line = _about(packet, shot, status)
    if packet is None:
        return json.dumps(line).encode() + b"\n"
    if words:
        line["words"] = _words(packet.shot)
    return b"".join((json.dumps(line).encode(), b"\n", packet.jpeg, packet.labels))


def _about(packet: Packet | None, shot: Shot | None, status: Status) -> dict[str, Any]:
    height, width = (0, 0) if shot is None else shot.result.mask.shape
    return {
        "frame": None if shot is None else shot.index,
        "time_s": None if shot is None else round(shot.time_s, 3),
        "age_ms": rounded(status.age_ms if packet is None else packet.shot.age_ms()),
        "state": status.state,
        "width": width,
        "height": height,
        "jpeg": 0 if packet is None else len(packet.jpeg),
        "labels": 0 if packet is None else len(packet.labels),
        "words_version": 0 if shot is None else shot.words_version,
        "coverage": [] if packet is None else packet.coverage,
        "speed": {} if packet is None else {stage: round(ms, 2) for stage, ms in packet.shot.result.speed.items()},
        "latency": {stage: [round(ms, 2) for ms in percentiles] for stage, percentiles in status.latency.items()},
        "fps": rounded(status.fps),
        "camera_fps": rounded(status.camera_fps),
        "dropped": status.dropped,
        "reconnects": status.reconnects,
        "problem": status.problem,
        "unchanged_s": rounded(status.unchanged_s),
        "throttled": list(status.throttled),
    }


def _words(shot: Shot) -> dict[str, Any]:
    result = shot.result
    return {"names": list(result.names), "colours": hexadecimal(result.colours), "unpainted": result.unpainted}


def rounded(number: float | None) -> float | None:
    """Round to a tenth."""
    return None if number is None else round(number, 1)
