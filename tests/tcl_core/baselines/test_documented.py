"""The Python of docs/baselines.md about MaskCLIP and ReCo, on small files of the same names. Oracle: it runs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from .test_reco import deit_file

PAGE = Path(__file__).parents[3] / "docs" / "baselines.md"


def test_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wordy_clip_file: Path, wordy_resnet_file: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ViT-B-16.pt", "ViT-L-14-336px.pt"):
        Path(name).symlink_to(wordy_clip_file)
    Path("RN50x16.pt").symlink_to(wordy_resnet_file)
    deit_file(Path("deit_s_sin.pth"), distilled=True)
    Path("pictures").mkdir()
    generator = np.random.default_rng(0)
    for path in (Path("street.jpg"), *(Path("pictures") / f"{number}.png" for number in range(3))):
        Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in (block for block in blocks if "maskclip" in block or "reco" in block):
        exec(block.replace("num_retrieved=50", "num_retrieved=2"), names)
    assert names["labels"].shape == (30, 40)
    assert names["network"].settings["blocks"] == "released"
    assert names["network"](torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)
