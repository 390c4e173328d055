"""Processes that fork. Oracle: the status that the system gives for a child, within a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, sys, time
import numpy as np
from runtime import Segmenter
from runtime.errors import EngineError
from runtime.sinks.open import open_sink
from runtime.sinks.output import Outputs
from runtime.sources.open import open_source

def leaves(child):
    process = os.fork()
    if process == 0:
        child()
        sys.exit(7)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return "hangs"

def infer():
    try:
        segmenter(frame.image)
    except EngineError as error:
        assert "in each process" in str(error)
    else:
        sys.exit(1)

source = open_source("test://cars")
frames = iter(source)
frame = next(frames)
print("source", leaves(lambda: None), leaves(source.close))
with Segmenter("tiny", classes="car", size=64, refine="none") as segmenter:
    result = segmenter(frame.image)
    print("segmenter", leaves(lambda: None), leaves(segmenter.close), leaves(infer))
    sink = open_sink("o.mp4", source, segmenter.names, Outputs())
    for _ in range(5):
        sink.write(result, frame, frame.image)
        frame = next(frames)
    print("sink", leaves(lambda: None), leaves(lambda: sink.close(complete=True)))
    sink.write(result, frame, frame.image)
    sink.close(complete=True)
print("frames", sum(1 for _ in open_source("o.mp4")), sum(1 for _ in frames) + 6)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_ends_and_its_parent_goes_on(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["source 7 7", "segmenter 7 7 7", "sink 7 7", "frames 6 120"]
