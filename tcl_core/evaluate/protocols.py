"""The protocols that papers measured by, and ours.

Sources: kakaobrain/tcl bc2b551 (`tcl`), wangf3014/SCLIP b56bd30, sinahmr/NACLIP 0cac3a6, SuleBai/SC-CLIP 0417ba9,
yvhangyang/ResCLIP 0e085f7, NVlabs/GroupViT 13b7861, chongzhou96/MaskCLIP 245d31f; all read from their configurations.
"""

from dataclasses import replace
from typing import Any, Literal, get_args

from tcl_core.errors import ConfigError
from tcl_core.evaluate.layouts import Key
from tcl_core.evaluate.protocol import Protocol

ProtocolName = Literal["tcl", "runtime", "sclip", "naclip", "scclip", "resclip", "groupvit", "maskclip", "reco"]
PROTOCOL_NAMES: tuple[ProtocolName, ...] = get_args(ProtocolName)

TCL = Protocol("tcl", pamr="window", kp_weight=0.3)
"""The unified evaluation, with the settings of TCL's own row. Other rows have neither PAMR nor the prior."""

RUNTIME = Protocol(
    "runtime",
    sizing="area",
    short_side=None,
    interpolation="model",
    statistics="model",
    window=None,
    templates=None,
    pamr=None,
)
"""Whole pictures as our runtime sees them, everything else as the model has it."""

_SCLIP = Protocol(
    "sclip", short_side=336, statistics="clip", window=224, stride=112, names="sclip", templates="full", threshold=0.0,
    softmax_scale=40.0, through_input=False,
)  # fmt: skip
_WITH_BACKGROUND = ("voc", "context", "coco_object")
_SCLIP_FAMILY: dict[str, dict[str, dict[str, Any]]] = {
    "sclip": {
        "voc": {"softmax_scale": 65.0, "threshold": 0.1, "area_share": 0.1},
        "context": {"softmax_scale": 50.0, "threshold": 0.1},
        "coco_object": {"softmax_scale": 50.0, "threshold": 0.1},
        "coco_stuff": {"short_side": 448},
    },
    "naclip": {
        "voc": {"window": None},
        "voc20": {"window": None},
    },
    "scclip": {
        "voc": {"softmax_scale": 50.0, "threshold": 0.15, "area_share": 0.1},
        "context": {"threshold": 0.15},
        "coco_object": {"softmax_scale": 55.0, "threshold": 0.35},
    },
    "resclip": {
        "voc": {"window": None},
        "voc20": {"window": None},
    },
}
_NACLIP: dict[str, Any] = {"through_input": True, "pamr": "picture", "pamr_dilations": (8, 16)}

_GROUPVIT_THRESHOLDS = {"voc": 0.95, "coco_object": 0.95, "context": 0.35}
_MASKCLIP_SIZES: dict[str, dict[str, Any]] = {
    "voc20": {"short_side": 512, "long_side": 2048},
    "coco_stuff": {"short_side": 512, "long_side": 2048},
    "context59": {"short_side": 520, "long_side": 520},
    "cityscapes": {"short_side": 512, "long_side": 1024},
}


def protocol_named(name: str, benchmark: Key | None) -> Protocol:
    """Get a protocol with its settings for a benchmark.

    `sclip`, `naclip`, `scclip` and `resclip` are one protocol with other constants; `groupvit` and `maskclip` what
    those authors measured their own systems by, before the unified evaluation.

    Args:
        name: of the protocol.
        benchmark: one of the eight; None for other data, which `tcl` and `runtime` take too.

    Raises:
        ConfigError: no such protocol, or none of its settings for this benchmark.
    """
    if name == "tcl":
        return TCL
    if name == "runtime":
        return RUNTIME
    if name == "reco":
        raise ConfigError(
            "ReCo's own evaluation merges classes to 27 and crops pictures and labels to 320 x 320, which is none of "
            "the eight benchmarks: take --protocol tcl"
        )
    if name not in PROTOCOL_NAMES:
        raise ConfigError(f"no protocol {name!r}: expected one of {', '.join(PROTOCOL_NAMES)}")
    if benchmark is None:
        raise ConfigError(f"{name} has settings for benchmarks of papers only: take tcl or runtime for other data")
    if name in _SCLIP_FAMILY:
        return _of_sclip_family(name, benchmark)
    if name == "groupvit":
        return replace(
            TCL, name=name, names="groupvit", templates="simple", pamr="off", kp_weight=0.0,
            threshold=_known(_GROUPVIT_THRESHOLDS, name, benchmark),
        )  # fmt: skip
    size = _known(_MASKCLIP_SIZES, name, benchmark)
    return replace(
        TCL, name=name, names="maskclip", templates="maskclip", pamr="off", kp_weight=0.0, window=None, **size
    )


def _of_sclip_family(name: str, benchmark: Key) -> Protocol:
    protocol = replace(_SCLIP, name=name)
    if benchmark == "cityscapes":
        protocol = replace(protocol, short_side=560)
    if benchmark in _WITH_BACKGROUND:
        protocol = replace(protocol, threshold=0.1)
    if name == "naclip":
        protocol = replace(protocol, **_NACLIP)
    elif name == "resclip":
        protocol = replace(protocol, through_input=True)
    return replace(protocol, **_SCLIP_FAMILY[name].get(benchmark, {}))


def _known(settings: dict[str, Any], name: str, benchmark: str) -> Any:
    if benchmark not in settings:
        raise ConfigError(f"{name}'s authors measured {', '.join(settings)} and not {benchmark}: take --protocol tcl")
    return settings[benchmark]


__all__ = ["PROTOCOL_NAMES", "RUNTIME", "TCL", "ProtocolName", "protocol_named"]
