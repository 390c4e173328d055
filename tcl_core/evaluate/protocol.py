"""How a picture becomes a label map, but for the network: every setting of it, as data.

The papers' numbers differ by points with each of these, so a protocol is printed and stored with every result.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tcl_core.encoder import Preprocess
from tcl_core.errors import ConfigError
from tcl_core.evaluate.names import NAME_LISTS, NameList
from tcl_core.prompts import TEMPLATE_NAMES

Sizing = Literal["short side", "area"]
Interpolation = Literal["opencv", "model"]
Statistics = Literal["imagenet", "clip", "model"]
Refinement = Literal["off", "window", "picture", "runtime"]

STATISTICS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "clip": ((122.771, 116.746, 104.094), (68.501, 66.632, 70.323)),
}
"""Mean and standard deviation of red, green, blue in 0..255."""


@dataclass(frozen=True)
class Protocol:
    """Everything between the file of a picture and its label map, but for the network.

    Attributes:
        name: of the preset that it began as.
        sizing: "short side" keeps the ratio: the short side has `short_side` pixels, unless the long one would have
            more than `long_side`. "area", the runtime's: as many pixels as a square of `short_side`, multiples of the
            model's stride.
        short_side: in pixels; None for the model's own.
        long_side: in pixels, at most.
        interpolation: "opencv" is bilinear without antialiasing, on bytes; "model" the model's own, on floats.
        statistics: what pixels are normalised by; "model" is the model's own.
        window: side of square windows in pixels; None for the whole picture at once.
        stride: step between windows in pixels, at most `window`.
        through_input: whether the map of a whole picture is first resized to the network's input, as those of windows
            are, before it is resized to the picture.
        names: what classes are called in prompts.
        templates: prompts that names are put into, see `tcl_core.prompts.templates`; None for the model's own.
        threshold: score that a word has to exceed; None for 0.4 with PAMR and 0.5 without, or the model's own.
        softmax_scale: scores are softmax(scale * cosine) over all names, the background's among them; None for the
            model's masks, each for itself.
        area_share: a class that would get no more than this share of all pixels of words gets none; None for no rule.
        pamr: "window" refines a window's masks before they are averaged; "picture" the averaged scores, at the size of
            the picture; "runtime" masks at a quarter of the input; None for the model's own, which is one of "off" and
            "runtime" for whole pictures, else of "off" and "window".
        pamr_dilations: of its neighbours, in pixels.
        pamr_iterations: how often it is applied.
        kp_weight: share of the frozen encoder's own masks ("known prior"), in [0, 1].
    """

    name: str
    sizing: Sizing = "short side"
    short_side: int | None = 448
    long_side: int = 2048
    interpolation: Interpolation = "opencv"
    statistics: Statistics = "imagenet"
    window: int | None = 448
    stride: int = 224
    through_input: bool = True
    names: NameList = "benchmark"
    templates: str | None = "custom"
    threshold: float | None = None
    softmax_scale: float | None = None
    area_share: float | None = None
    pamr: Refinement | None = "off"
    pamr_dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    pamr_iterations: int = 10
    kp_weight: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if self.window is not None and not 0 < self.stride <= self.window:
            raise ConfigError(f"stride is {self.stride} for a window of {self.window}: expected 1 to the window")
        for side in ("short_side", "long_side"):
            if (value := getattr(self, side)) is not None and value < 1:
                raise ConfigError(f"{side} is {value}: expected pixels, 1 at least")
        for share in ("kp_weight", "area_share"):
            if (value := getattr(self, share)) is not None and not 0 <= value <= 1:
                raise ConfigError(f"{share} is {value}: expected a share between 0 and 1")
        if self.templates is not None and self.templates not in TEMPLATE_NAMES:
            raise ConfigError(f"no templates {self.templates!r}: expected one of {', '.join(TEMPLATE_NAMES)}")
        if self.names not in NAME_LISTS:
            raise ConfigError(f"no list of names {self.names!r}: expected one of {', '.join(NAME_LISTS)}")
        if not self.pamr_dilations or min(self.pamr_dilations) < 1 or self.pamr_iterations < 0:
            raise ConfigError("PAMR: expected dilations of 1 at least, and no negative number of iterations")

    def settings(self) -> dict[str, Any]:
        """Every setting by name, as plain data."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def adapted(self, preprocess: Preprocess) -> "Protocol":
        """Show a model pictures of its own size, normalised as it was trained."""
        side = preprocess.size
        kept = self.statistics if _is_normalised_by(preprocess, self.statistics) else "model"
        return replace(self, short_side=side, window=side, stride=max(side // 2, 1), statistics=kept)

    def differences(self, other: "Protocol") -> dict[str, tuple[Any, Any]]:
        """Settings that another protocol has otherwise, but for the name: ours and theirs."""
        ours, theirs = self.settings(), other.settings()
        return {key: (ours[key], theirs[key]) for key in ours if key != "name" and ours[key] != theirs[key]}


def _is_normalised_by(preprocess: Preprocess, statistics: Statistics) -> bool:
    if statistics == "model":
        return True
    mean, std = STATISTICS[statistics]
    own = (*preprocess.mean, *preprocess.std)
    return all(abs(value - byte / 255) < 1e-3 for value, byte in zip(own, (*mean, *std), strict=True))


def overridden(protocol: Protocol, given: Sequence[str]) -> Protocol:
    """Change settings as a user typed them, `window=224` or `window=none`.

    Raises:
        ConfigError: no such setting, or a value that it cannot have.
    """
    kinds = get_type_hints(Protocol)
    known = [field.name for field in fields(Protocol) if field.name != "name"]
    changes: dict[str, Any] = {}
    for item in given:
        key, equals, text = item.partition("=")
        if not equals or key not in known:
            raise ConfigError(f"no setting {item!r}: expected NAME=VALUE with one of {', '.join(known)}")
        changes[key] = _parsed(key, text, kinds[key])
    return replace(protocol, **changes)


def _parsed(key: str, text: str, kind: Any) -> Any:
    options = get_args(kind) if get_origin(kind) not in (Literal, tuple) else (kind,)
    options = options or (kind,)
    if NoneType in options and text.lower() == "none":
        return None
    for option in options:
        if get_origin(option) is Literal and text in get_args(option):
            return text
        if option is bool and text in ("true", "false"):
            return text == "true"
        try:
            if option in (int, float, str):
                return option(text)
            if get_origin(option) is tuple:
                return tuple(int(part) for part in text.split(",") if part)
        except ValueError:
            continue
    expected = " or ".join(
        ", ".join(get_args(option)) if get_origin(option) is Literal else getattr(option, "__name__", str(option))
        for option in options
    )
    raise ConfigError(f"{key}={text}: expected {expected.replace('NoneType', 'none')}")


__all__ = ["STATISTICS", "Interpolation", "Protocol", "Refinement", "Sizing", "Statistics", "overridden"]
