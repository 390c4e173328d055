"""Entering ROS's domains. Oracle: the process's environment before."""

import os
import threading
from pathlib import Path

import pytest

from runtime.ros.dds import LOCALHOST, Participant
from runtime.ros.message import IMAGE
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


STATUS = Path("/proc/self/statm")


@pytest.mark.skipif(not STATUS.exists(), reason="no /proc on this system")
def test_a_robot_that_is_looked_for_for_months_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracles: pages of the process as the system counts them, its files and threads."""
    monkeypatch.setenv("CYCLONEDDS_URI", LOCALHOST)

    def look() -> None:
        participant = Participant(DOMAIN)
        participant.published()
        participant.reader("/camera", IMAGE).wake()
        participant.close()

    def held() -> tuple[int, ...]:
        pages = int(STATUS.read_text().split()[1])
        return pages, *(len(list(Path("/proc/self", kind).iterdir())) for kind in ("fd", "task"))

    for _ in range(20):
        look()
    before = held()
    for _ in range(100):
        look()
    after = held()
    assert after[0] - before[0] < 2**20 * 2 // os.sysconf(
        "SC_PAGESIZE"
    )  # five megabytes, were the types defined anew each time
    assert after[1:] == before[1:]
