"""Sensors of machines that are not here. Oracle: their /sys, as their kernels lay it out, written with known values."""

import os
from pathlib import Path

import pytest

from runtime.sensors import Reading, Sensors

NANO = {  # a Jetson Orin Nano
    "thermal/thermal_zone0": {"type": "cpu-thermal", "temp": "51234"},
    "thermal/thermal_zone1": {"type": "gpu-thermal", "temp": "53500"},
    "thermal/thermal_zone2": {"type": "cv0-thermal", "temp": "-256000"},
    "thermal/thermal_zone3": {"type": "PMIC-Die", "temp": "100000"},
    "thermal/thermal_zone8": {"type": "tj-thermal", "temp": "53812"},
    "thermal/cooling_device0": {"type": "pwm-fan", "cur_state": "3"},
    "thermal/cooling_device1": {"type": "cpu-throttle-alert", "cur_state": "0"},
    "thermal/cooling_device2": {"type": "hot-surface-alert", "cur_state": "0"},
    "hwmon/hwmon1": {
        "name": "ina3221",
        "in1_label": "VDD_IN",
        "in1_input": "5032",
        "curr1_input": "1250",
        "in2_label": "VDD_CPU_GPU_CV",
        "in2_input": "5024",
        "curr2_input": "200",
    },
}
PI = {
    "thermal/thermal_zone0": {"type": "cpu-thermal", "temp": "81000"},
    "../devices/platform/soc/soc:firmware": {"get_throttled": "50005"},
}
INTEL = {
    "thermal/thermal_zone0": {"type": "acpitz", "temp": "27800"},
    "thermal/thermal_zone1": {"type": "x86_pkg_temp", "temp": "64000"},
    "thermal/thermal_zone2": {"type": "iwlwifi_1", "temp": "71000"},
    "thermal/cooling_device0": {"type": "Processor", "cur_state": "0"},
    "thermal/cooling_device9": {"type": "intel_powerclamp", "cur_state": "-1"},
    "../devices/system/cpu/cpu0/thermal_throttle": {"package_throttle_count": "7"},
}
AMD = {
    "hwmon/hwmon0": {"name": "nvme", "temp1_input": "88000"},
    "hwmon/hwmon2": {"name": "k10temp", "temp1_input": "55125", "temp3_input": "48000"},
}
AGX = {
    "thermal/thermal_zone0": {"type": "CPU-therm", "temp": "44000"},
    "hwmon/hwmon3": {"name": "ina3221", "in1_label": "VDD_GPU_SOC", "in1_input": "19912", "curr1_input": "160"},
}
THOR = {"hwmon/hwmon4": {"name": "ina238", "power1_input": "31500000"}}


def machine(root: Path, files: dict[str, dict[str, str]]) -> Path:
    for folder, contents in files.items():
        place = Path(os.path.normpath(root / "sys/class" / folder))
        place.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (place / name).write_text(f"{content}\n")
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (NANO, Reading(53.812, 5.032 * 1.25)),
        (PI, Reading(81.0, None, ("under-voltage", "throttled"))),
        (INTEL, Reading(64.0)),
        (AMD, Reading(55.125)),
        (AGX, Reading(44.0)),
        (THOR, Reading(None, 31.5)),
        ({}, Reading()),
        ({"thermal/thermal_zone0": {"type": "cpu-thermal", "temp": "warm"}}, Reading()),
        ({"thermal/thermal_zone0": {"type": "cpu-thermal"}, "hwmon/hwmon0": {}}, Reading()),
        ({"hwmon/hwmon0": {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": "5000"}}, Reading()),
    ],
    ids=["nano", "pi", "intel", "amd", "agx", "thor", "none", "nonsense", "empty", "half"],
)
def test_a_machine_is_read(files: dict[str, dict[str, str]], expected: Reading, tmp_path: Path) -> None:
    assert Sensors(machine(tmp_path, files)).read() == expected


def test_throttling_is_seen_when_it_begins_and_ends(tmp_path: Path) -> None:
    sensors = Sensors(machine(tmp_path, NANO), every_s=0.0, clock=iter(range(100)).__next__)
    state = tmp_path / "sys/class/thermal/cooling_device1/cur_state"
    seen = []
    for value in ("0", "2", "0"):
        state.write_text(value)
        seen.append(sensors.read().throttled)
    assert seen == [(), ("cpu-throttle-alert",), ()]


def test_intel_counts(tmp_path: Path) -> None:
    sensors = Sensors(machine(tmp_path, INTEL), every_s=0.0, clock=iter(range(100)).__next__)
    count = tmp_path / "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    seen = []
    for value in ("7", "9", "9"):
        count.write_text(value)
        seen.append(sensors.read().throttled)
    assert seen == [(), ("package too warm",), ()]


def test_a_sensor_that_goes_is_left_out(tmp_path: Path) -> None:
    sensors = Sensors(machine(tmp_path, NANO), every_s=0.0, clock=iter(range(100)).__next__)
    for zone in (1, 8):
        (tmp_path / f"sys/class/thermal/thermal_zone{zone}/temp").unlink()
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").unlink()
    assert sensors.read() == Reading(51.234)


def test_a_reading_is_kept_for_a_second(tmp_path: Path) -> None:
    """So that asking with every frame costs nothing."""
    now = 0.0
    sensors = Sensors(machine(tmp_path, NANO), clock=lambda: now)
    first = sensors.read()
    for file in tmp_path.rglob("*temp"):
        file.write_text("60000")
    now = 0.9
    assert sensors.read() is first
    now = 1.1
    assert sensors.read().temperature_c == 60.0


def test_this_machine_can_be_asked() -> None:
    reading = Sensors().read()
    assert reading.temperature_c is None or -40 < reading.temperature_c < 150
    assert reading.power_w is None or reading.power_w >= 0
