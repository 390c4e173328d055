"""What holds something that has to be given back."""

from typing import TypeVar

Opened = TypeVar("Opened", bound="Closing")


class Closing:
    """Something that is open from its construction on: closed at the end of its `with` block, or by `close`."""

    def close(self) -> None:
        """Give back what is held; closing again does nothing."""

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
