"""The files that start it elsewhere. Oracles: systemd's own check, YAML, our command line's parser."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import typer
import yaml

from runtime.__main__ import app

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "examples/systemd/tcl-edge.service"
COMPOSE = ROOT / "examples/jetson/compose.yaml"
LAUNCH = ROOT / "examples/ros2/segmentation.launch.py"


def unit() -> dict[str, list[str]]:
    """Every setting of the unit, with its values in order."""
    settings: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if found := re.match(r"(\w+)=(.*)", line):
            settings.setdefault(found[1], []).append(found[2])
    return settings


def understood(arguments: list[str]) -> None:
    """Let the command line read what follows `python -m runtime`."""
    parser = typer.main.get_command(app)
    parser.make_context("runtime", arguments)


def test_the_unit_starts_what_exists() -> None:
    (start,) = unit()["ExecStart"]
    python, *arguments = shlex.split(start)
    assert python.endswith("python")
    assert arguments[:2] == ["-m", "runtime"]
    understood(arguments[2:])


def test_the_unit_is_watched_and_restarted() -> None:
    settings = unit()
    assert settings["Type"] == ["notify"]
    assert settings["Restart"] == ["always"]
    assert 5 <= int(settings["WatchdogSec"][0]) <= 60


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here (package systemd)")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """As it stands, but for the place of the program, which has to be there."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/tcl-edge/.venv/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    told = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert told == [], done.stderr


def test_the_container_starts_what_exists() -> None:
    service = yaml.safe_load(COMPOSE.read_text())["services"]["segment"]
    assert service["command"][:3] == ["python3", "-m", "runtime"]
    understood(service["command"][3:])
    targets = {volume.split(":")[1] for volume in service["volumes"]}
    assert service["environment"]["TCL_EDGE_ENGINES"] in targets
    assert str(Path(service["command"][4]).parent) in targets


def test_the_launch_page_starts_our_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`launch` is not here: its classes keep what they are given."""

    def kept(*given: object, **named: object) -> SimpleNamespace:
        return SimpleNamespace(given=given, **named)

    for name, contents in {
        "launch": {"LaunchDescription": kept},
        "launch.actions": {"DeclareLaunchArgument": kept, "ExecuteProcess": kept},
        "launch.substitutions": {"LaunchConfiguration": lambda name: f"<{name}>"},
    }.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    described = runpy.run_path(str(LAUNCH))["generate_launch_description"]()
    *arguments, process = described.given[0]
    command = ["".join(part) if isinstance(part, list) else part for part in process.cmd]
    assert command[:5] == ["<python>", "-m", "runtime", "ros2:<image>", "ros2:<output>"]
    assert {argument.given[0] for argument in arguments} == set(re.findall(r"<(\w+)>", " ".join(command)))
    typer.main.get_command(app).make_context("runtime", command[3:])
