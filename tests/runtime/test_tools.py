"""The tools beside the stream. Oracle: Typer's own list of them; what each does is tested where it lies."""

from runtime.tools import TOOLS, tools


def test_every_tool_is_found_by_its_name() -> None:
    assert {command.callback.__name__ for command in tools.registered_commands} == TOOLS
