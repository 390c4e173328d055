"""What docs/jetson.md promises. Oracles: the command line's own help, the constants of the code, the files it names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.doctor.nvidia import JETPACKS
from runtime.engines.cache import FOLDER_VARIABLE
from runtime.engines.check import TOLERANCES
from runtime.engines.profile import MOST_WORDS, STRETCH

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")


def options(*command: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-m", *command, "--help"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(re.findall(r"--[a-z][a-z0-9-]+", done.stdout))


@pytest.mark.parametrize("command", [("runtime",), ("runtime", "engine"), ("export",)])
def test_every_option_of_its_commands_exists(command: tuple[str, ...]) -> None:
    start = "python -m " + " ".join(command)
    lines = [line for line in PAGE.splitlines() if line.startswith(start)]
    if command == ("runtime",):
        lines = [line for line in lines if not line.startswith(f"{start} engine")]
    assert lines
    used = {option for line in lines for option in re.findall(r"--[a-z][a-z0-9-]+", line)}
    assert used <= options(*command)


def test_its_numbers_are_those_of_the_code() -> None:
    assert f"1 to {MOST_WORDS} words" in PAGE
    assert f"{STRETCH * STRETCH:.2f} times" in PAGE
    for precision, written in (("fp16", "under {:.1f} %\n  equal labels"), ("int8", "(int8: {:.0f} %)")):
        assert written.format(100 * TOLERANCES[precision].label_agreement) in PAGE
    assert f"over {TOLERANCES['fp16'].mean_error:g} mean difference" in PAGE
    assert f"(int8: {TOLERANCES['int8'].mean_error:g})" in PAGE
    assert f"${FOLDER_VARIABLE}" in PAGE
    releases = re.search(r"Jetson Linux .*?\| (\d+) \| (\d+) \| (\d+) \|", PAGE)
    assert releases is not None
    assert [int(major) for major in releases.groups()] == list(JETPACKS)
    for cuda, limit in zip(
        re.findall(r"\| CUDA \| (\d+)\S* \| (\d+)\S* \| (\d+)", PAGE)[0], JETPACKS.values(), strict=True
    ):
        assert int(cuda) == limit.cuda


def test_readme_links_it() -> None:
    assert "(docs/jetson.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
