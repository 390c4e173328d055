"""Entering ROS's domains. Oracle: the process's environment before."""

import os
import threading

import pytest

from runtime.ros.dds import Participant
from tests.runtime.ros import definitions
from tests.runtime.ros.publisher import DOMAIN

MINE = "<CycloneDDS><Domain><General><MaxMessageSize>65500B</MaxMessageSize></General></Domain></CycloneDDS>"


def test_threads_that_open_topics_leave_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLONEDDS_URI", MINE)
    opened: list[Participant] = []
    threads = [threading.Thread(target=lambda: opened.append(Participant(DOMAIN, local=True))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    assert definitions.Image  # of a library that may be absent: then this is skipped
    assert os.environ["CYCLONEDDS_URI"] == MINE
    for participant in opened:
        participant.close()
        participant.close()
