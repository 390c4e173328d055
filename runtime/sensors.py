"""How warm this machine is, what it draws, and whether it holds back, as far as Linux tells: `/sys`.

| read from | gives |
| --- | --- |
| `class/thermal/thermal_zone*` of a processor, a GPU or their chip | temperature |
| `class/hwmon/*` named coretemp, k10temp, zenpower, amdgpu | temperature, where no zone tells |
| `class/hwmon/*` named ina3221 (Jetson), its rail for all: VDD_IN, POM_5V_IN, VIN | power: mV times mA |
| `class/hwmon/*` named ina238 (Jetson Thor) | power: microwatts |
| `class/thermal/cooling_device*` of a processor or GPU, at work | throttling |
| the firmware of a Raspberry Pi | throttling: under-voltage, a capped frequency, too warm |
| `devices/system/cpu/cpu0/thermal_throttle` (Intel) | throttling, since the reading before |

None of it has been read on these machines; the tests have their `/sys` written out. A Jetson AGX Orin has no rail for
all, a Raspberry Pi no meter, and an NVIDIA card in a PC tells only its own tools: None.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

EVERY_S = 1.0
"""How old a reading may be: nothing here changes faster, and a power monitor answers over a slow bus."""

PROCESSORS = re.compile(r"cpu|gpu|soc|^tj|x86_pkg_temp", re.IGNORECASE)
"""Kinds of thermal zones and cooling devices that are about what computes; batteries, radios and fans are not."""

PROCESSOR_MONITORS = {"coretemp", "k10temp", "zenpower", "cpu_thermal", "amdgpu"}
COOLING = re.compile(r"cpu|gpu|processor|throttle|hot-surface", re.IGNORECASE)
WHOLE_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")

BELIEVABLE_C = (-40.0, 150.0)
"""What is beyond is a sensor that is turned off."""

FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
PI_HINTS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""By the bit of the Raspberry Pi's firmware that says that it is so now."""

INTEL = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"


@dataclass(frozen=True)
class Reading:
    """What the sensors say.

    Attributes:
        temperature_c: of the hottest of processor and GPU, in degrees Celsius; None where nothing tells.
        power_w: of the whole device or module, in watts; None where nothing tells.
        throttled: why the machine runs slower than it could, in its own words; empty where it does not, or where
            nothing tells.
    """

    temperature_c: float | None = None
    power_w: float | None = None
    throttled: tuple[str, ...] = ()


class Sensors:
    """Reads them. What there is, is found once; what cannot be read any more is left out. Never raises.

    Args:
        root: of the file system.
        every_s: a reading that is no older is given again, so that it may be asked for with every frame.
        clock: seconds that never go back.
    """

    def __init__(
        self, root: Path = Path("/"), *, every_s: float = EVERY_S, clock: Callable[[], float] = monotonic
    ) -> None:
        self._every_s, self._clock = every_s, clock
        self._temperatures = _zones(root) or _monitors(root)
        self._volts_amperes = _rail(root)
        self._microwatts = [file for folder in _named(root, {"ina238"}) for file in _listed(folder, "power1_input")]
        self._cooling = [
            (_text(folder / "type"), folder / "cur_state")
            for folder in _listed(root / "sys/class/thermal", "cooling_device*")
            if COOLING.search(_text(folder / "type")) and "fan" not in _text(folder / "type").lower()
        ]
        self._firmware, self._intel = root / FIRMWARE, root / INTEL
        self._intel_count = _number(self._intel)
        self._read: tuple[float, Reading] | None = None

    def read(self) -> Reading:
        """Give the state now, or up to `every_s` ago."""
        now = self._clock()
        if self._read is None or now - self._read[0] > self._every_s:
            self._read = now, Reading(self._temperature(), self._power(), self._throttled())
        return self._read[1]

    def _temperature(self) -> float | None:
        degrees = [number / 1000 for file in self._temperatures if (number := _number(file)) is not None]
        least, most = BELIEVABLE_C
        return max((value for value in degrees if least < value < most), default=None)

    def _power(self) -> float | None:
        if self._volts_amperes is not None:
            millivolts, milliamperes = map(_number, self._volts_amperes)
            if millivolts is not None and milliamperes is not None:
                return millivolts * milliamperes / 1e6
        microwatts = [number for file in self._microwatts if (number := _number(file)) is not None]
        return sum(microwatts) / 1e6 if microwatts else None

    def _throttled(self) -> tuple[str, ...]:
        hints = [kind for kind, state in self._cooling if (_number(state) or 0) > 0]
        with suppress(ValueError):
            bits = int(_text(self._firmware) or "0", 16)
            hints += [hint for bit, hint in PI_HINTS.items() if bits >> bit & 1]
        count, before = _number(self._intel), self._intel_count
        self._intel_count = count
        if count is not None and before is not None and count > before:
            hints.append("package too warm")
        return tuple(dict.fromkeys(hints))


def _zones(root: Path) -> list[Path]:
    folders = _listed(root / "sys/class/thermal", "thermal_zone*")
    return [folder / "temp" for folder in folders if PROCESSORS.search(_text(folder / "type"))]


def _monitors(root: Path) -> list[Path]:
    return [file for folder in _named(root, PROCESSOR_MONITORS) for file in _listed(folder, "temp*_input")]


def _rail(root: Path) -> tuple[Path, Path] | None:
    """Find the voltage and the current of the rail that feeds everything."""
    labels = {
        _text(label): label.parent / label.name.removesuffix("_label")
        for folder in _named(root, {"ina3221"})
        for label in _listed(folder, "in[0-9]_label")
    }
    for rail in WHOLE_RAILS:
        if rail in labels:
            channel = labels[rail]
            number = channel.name.removeprefix("in")
            return channel.with_name(f"in{number}_input"), channel.with_name(f"curr{number}_input")
    return None


def _named(root: Path, names: set[str]) -> list[Path]:
    return [folder for folder in _listed(root / "sys/class/hwmon", "hwmon*") if _text(folder / "name") in names]


def _listed(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _text(file: Path) -> str:
    """Read a line; empty where there is none, or the sensor behind it is turned off."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    try:
        return int(_text(file))
    except ValueError:
        return None
