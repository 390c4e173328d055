"""What a run opens. Oracle: pairs counted by hand, in shards written here."""

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from tcl_core.errors import DataError
from tcl_core.train.__main__ import read_config
from tcl_core.train.gather import SingleProcess
from tcl_core.train.loading import open_data

TOY = Path(__file__).parents[3] / "configs" / "toy.yaml"


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Two shards of four pairs, and two that are named and not there."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    for shard in ("a", "b"):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as archive:
            for number in range(4):
                for suffix, content in (("png", buffer.getvalue()), ("txt", b"a black square")):
                    info = tarfile.TarInfo(f"{number}.{suffix}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return f"data.sources=[{{kind: shards, path: '{tmp_path}/{{a,b,c,d}}.tar'}}]"


def test_missing_shards_count_as_many_samples_as_the_others_hold(source: str, tmp_path: Path) -> None:
    """8 of 16 samples are missing: half is more than 49 %, and not more than 50 %."""
    said = io.StringIO()
    console = Console(file=said, width=10_000)
    config = read_config([str(TOY), source, f"output={tmp_path}", "data.most_bad=0.5"])
    assert len(open_data(config, SingleProcess(), console)) == 8
    assert said.getvalue().startswith("passed over: 2 x shard missing (first: ")
    config = read_config([str(TOY), source, f"output={tmp_path}", "data.most_bad=0.49"])
    with pytest.raises(DataError, match=r"about 8 of 16 samples cannot be used, more than 49\.0% \(data\.most_bad\)"):
        open_data(config, SingleProcess(), console)
