"""ReCo against what its released code gave, loops written from the formulas, and work that is interrupted."""

import json
import math
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from tcl_core.baselines.reco.archive import Archive, embed_archive
from tcl_core.baselines.reco.build import ArchiveFiles, Networks, load_networks, reco
from tcl_core.baselines.reco.co_segmentation import (
    co_segment,
    context_presence,
    in_blocks,
    nearest_in_pictures,
    retrieve,
    scores,
    summarise,
    text_attention,
    weights,
)
from tcl_core.baselines.reco.dense_crf import dense_crf
from tcl_core.baselines.reco.features import centre_crop, load_deit
from tcl_core.baselines.reco.references import (
    SAME_AS,
    Maps,
    ReCoSettings,
    ReferenceMaker,
    References,
    Texts,
    import_references,
)
from tcl_core.errors import (
    ConfigError,
    DataConfigError,
    DataError,
    ModelFileError,
    UnsafePickleError,
    WeightsError,
    WriteError,
)

EMBEDDINGS, SCORES = 1e-4, 2e-5  # absolute, as the recordings' README says
Recorded = Callable[[str], dict[str, Tensor]]


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected.to(actual.dtype), rtol=0, atol=tolerance)


class Recording:
    """The recorded archive, and settings of its runs."""

    def __init__(self, arrays: dict[str, Tensor], report: dict[str, Any]) -> None:
        self.arrays, self.names, self.k = arrays, report["names"], report["k"]
        self.categories, self.context = report["categories"], tuple(report["context"])

    def settings(self, run: str) -> ReCoSettings:
        context = self.context if run == "full" else ()
        return ReCoSettings(self.k, context=context, text_attention=run != "plain")

    def maker(self, settings: ReCoSettings) -> ReferenceMaker:
        def texts_of(name: str) -> Texts:
            row = self.names.index(name)
            return Texts(self.arrays["retrieval_text"][row], self.arrays["dense_text"][row])

        def maps_of(indices: list[int]) -> Maps:
            return Maps(self.arrays["archive_features"][indices], self.arrays["archive_dense"][indices])

        return ReferenceMaker(self.arrays["archive_embedding"], maps_of, texts_of, settings)


@pytest.fixture(scope="module")
def recording(recorded: Recorded, eval_dir: Path) -> Recording:
    report = json.loads((eval_dir / "reco" / "report.json").read_text(encoding="utf-8"))
    return Recording(recorded("reco/reco.npz"), report)


@pytest.mark.oracle
def test_retrieval(recording: Recording) -> None:
    arrays = recording.arrays
    found = [retrieve(arrays["archive_embedding"], text, recording.k) for text in arrays["retrieval_text"]]
    assert torch.equal(torch.stack(found), arrays["retrieved"])


@pytest.mark.oracle
def test_references_step_by_step(recording: Recording) -> None:
    """Every array of every run: attention, context, weights, support, seeds, references, in both rules of blocks."""
    arrays, checked = recording.arrays, set()
    kinds = re.compile(r"(?P<run>[a-z]+)_(?P<kind>context|cat)_(?P<name>[^_]+)_reference$")
    for found in filter(None, map(kinds.fullmatch, arrays)):
        prefix, settings = found[0].removesuffix("reference"), recording.settings(found["run"])
        indices = arrays["retrieved"][recording.names.index(found["name"])]
        features, dense = arrays["archive_features"][indices], arrays["archive_dense"][indices]
        text = arrays["dense_text"][recording.names.index(found["name"])]
        attention = text_attention(dense, text[None], features.shape[2:])[:, 0] if settings.text_attention else None
        earlier = settings.context
        if found["kind"] == "context":
            earlier = earlier[: earlier.index(found["name"])]
        references = [arrays[f"{found['run']}_context_{name}_reference"] for name in earlier]
        presence = context_presence(features, torch.stack(references)) if references else None
        weight = weights(attention, presence)
        nearest = nearest_in_pictures(features, weight)
        released, described = (co_segment(features, weight, blocks) for blocks in ("released", "described"))
        computed = {
            "text_attention": attention,
            "context": presence,
            "weights": torch.ones_like(features[:, 0]) if weight is None else weight,
            "support": released.support,
            "seed_yx": released.seed_yx,
            "seed_features": released.seed_features,
            "reference": released.reference,
            "reference_winner": summarise(released.seed_features, "winner"),
            "reference_weighted": summarise(released.seed_features, "weighted"),
            "nearest_similarity": in_blocks(nearest, "released"),
            "perimage_support": described.support,
            "perimage_seed_yx": described.seed_yx,
            "perimage_reference": described.reference,
        }
        for name, expected in arrays.items():
            if not name.startswith(prefix):
                continue
            actual = computed[name.removeprefix(prefix)]
            assert actual is not None, name
            embedding = "reference" in name or "features" in name
            close(actual, expected, 0 if name.endswith("_yx") else EMBEDDINGS if embedding else SCORES)
            checked.add(name)
    parts = ("_context_", "_cat_")
    assert checked == {name for name in arrays if any(part in name for part in parts)}


@pytest.mark.oracle
def test_references_from_an_archive(recording: Recording) -> None:
    """The whole way, with context words in order and a class that takes the reference of one."""
    runs = [name.removesuffix("_references") for name in recording.arrays if name.endswith("_references")]
    assert runs
    for run in runs:
        maker = recording.maker(recording.settings(run))
        made = torch.stack([maker.reference(name) for name in recording.categories])
        close(made, recording.arrays[f"{run}_references"], EMBEDDINGS)


@pytest.mark.oracle
def test_scores_and_labels(recording: Recording) -> None:
    arrays = recording.arrays
    # A category that takes the reference of a context word is prompted by its own name.
    text = torch.stack([arrays["dense_text"][recording.names.index(name)] for name in recording.categories])
    names = [found[0] for name in arrays if (found := re.fullmatch(r"([a-z]+)_(test\d+)_pred(_nodense)?", name))]
    assert names
    for name in names:
        run, test, *_ = name.split("_")
        height, width = arrays[f"{test}_size"].tolist()
        alone = name.endswith("nodense")
        dense, words = (None, None) if alone else (arrays[f"{test}_dense"][None], text)
        references = arrays[f"{run}_references"]
        scored = scores(arrays[f"{test}_features"][None], references, dense, words, (height, width))[0]
        if (recorded := arrays.get(f"{run}_{test}_scores" + ("_nodense" if alone else ""))) is not None:
            close(scored, recorded, SCORES)
        best = scored.topk(2, dim=0).values
        assert bool(((scored.argmax(dim=0) == arrays[name]) | (best[0] - best[1] < 2 * SCORES)).all())
    for name, expected in arrays.items():
        if name.endswith("_text_attention_native"):
            dense = arrays[name.replace("text_attention_native", "dense")][None]
            close(text_attention(dense, arrays["dense_text"], dense.shape[2:])[0], expected, SCORES)


@pytest.mark.parametrize("blocks", ["released", "described"])
@pytest.mark.parametrize("weighted", [False, True])
def test_co_segmentation_against_loops(blocks: str, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(5, 4, 2, 3, generator=generator)
    weight = torch.rand(5, 2, 3, generator=generator) if weighted else None
    k, dim, height, width = features.shape

    def cell(i: int, y: int, x: int) -> list[float]:
        values = [float(features[i, d, y, x]) for d in range(dim)]
        length = math.sqrt(sum(value * value for value in values))
        return [value / length for value in values]

    cells = [(y, x) for y in range(height) for x in range(width)]
    support = torch.zeros(k, height, width, dtype=torch.float64)
    for i in range(k):
        for y, x in cells:
            for b in range(k):
                last = b if blocks == "described" else min(2 * b, k - 1)
                support[i, y, x] += (
                    max(
                        sum(p * q for p, q in zip(cell(i, y, x), cell(j, v, u), strict=True))
                        * (1.0 if weight is None else float(weight[j, v, u]))
                        for j in range(b, last + 1)
                        for v, u in cells
                    )
                    / k
                )
    found = co_segment(features, weight, blocks)
    close(found.support.double(), support, 1e-6)
    seeds = []
    for i in range(k):
        y, x = max(cells, key=lambda place: float(support[i, place[0], place[1]]))
        assert found.seed_yx[i].tolist() == [y, x]
        seeds.append(features[i, :, y, x])
    close(found.reference, F.normalize(torch.stack(seeds).mean(dim=0), dim=0), 1e-6)


def test_a_planted_object_is_found_and_its_company_is_not() -> None:
    """Two directions occur in all pictures; with one as context the reference is the other."""
    generator = torch.Generator().manual_seed(0)
    features = 0.3 * torch.randn(6, 16, 4, 4, generator=generator)
    thing, company = torch.eye(16)[0] * 4, torch.eye(16)[1] * 4
    features[:, :, 1, 1] += thing
    features[:, :, 3, 2] += 1.3 * company
    presence = context_presence(features, company[None])
    alone = co_segment(features, None, "described").reference
    apart = co_segment(features, weights(None, presence), "described").reference
    assert alone @ company / 4 > 0.9
    assert apart @ thing / 4 > 0.9


def test_archives_that_are_too_small() -> None:
    with pytest.raises(ConfigError, match="an archive of 3 pictures: expected 4 or more to retrieve"):
        retrieve(torch.eye(3), torch.ones(3), 4)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="num_retrieved is 0: expected at least one"):
        ReCoSettings(num_retrieved=0)
    with pytest.raises(ConfigError, match="expected every word once"):
        ReCoSettings(context=("sky", "sky"))
    with pytest.raises(ConfigError, match="no rule 'b' of blocks: expected released or described"):
        in_blocks(torch.zeros(1, 1, 1), "b")
    with pytest.raises(ConfigError, match="no summary 'median' of seeds"):
        summarise(torch.ones(2, 2), "median")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine small pictures in two folders."""
    folder, generator = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(9):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (20 + number, 24, 3), dtype=np.uint8)).save(path)
    return folder


def mean_colours(images: Tensor) -> Tensor:
    return images.flatten(2).mean(dim=2) + 0.1


def small(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(centre_crop(picture, 16), dtype=np.float32)).permute(2, 0, 1) / 255


def embedded(pictures: Path, cache: Path, **other: Any) -> Archive:
    settings = {"embed": mean_colours, "read": small, "made_by": "means", "shard_size": 4, **other}
    return embed_archive(pictures, cache, **settings)


def test_an_archive_that_was_interrupted_is_the_same(pictures: Path, tmp_path: Path) -> None:
    """Oracle: files and numbers of one that was not disturbed."""
    whole = embedded(pictures, tmp_path / "whole")
    assert len(whole.names) == 9
    assert whole.names[0] == "a/0.png"
    expected = F.normalize(mean_colours(torch.stack([small(whole.open(i)) for i in range(9)])), dim=1)
    close(whole.embeddings, expected, 1e-6)

    calls = []

    def breaks(images: Tensor) -> Tensor:
        calls.append(len(images))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return mean_colours(images)

    cache = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        embedded(pictures, cache, embed=breaks)
    assert [path.name for path in cache.iterdir()] == ["embeddings-000000.safetensors"]
    resumed = embedded(pictures, cache, embed=breaks)
    assert calls == [4, 4, 4, 1]  # the first shard was not made again
    assert torch.equal(resumed.embeddings, whole.embeddings)
    assert resumed.made_of == whole.made_of
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (cache / path.name).read_bytes()


def test_a_disk_that_is_full_leaves_what_is_done(
    pictures: Path, tmp_path: Path, files_no_longer_than: Callable[[int], Any]
) -> None:
    cache = tmp_path / "cache"
    with files_no_longer_than(100), pytest.raises(WriteError, match="make room there"):
        embedded(pictures, cache)
    assert list(cache.iterdir()) == []
    assert len(embedded(pictures, cache).names) == 9


def test_pictures_that_come_later(pictures: Path, tmp_path: Path) -> None:
    folder, cache, calls = tmp_path / "pictures", tmp_path / "cache", []

    def counted(images: Tensor) -> Tensor:
        calls.append(len(images))
        return mean_colours(images)

    for number in range(6):
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.png").write_bytes((pictures / "ab"[number % 2] / f"{number}.png").read_bytes())
    embedded(folder, cache, embed=counted)
    (folder / "7.png").write_bytes((pictures / "b" / "7.png").read_bytes())
    grown = embedded(folder, cache, embed=counted)
    assert calls == [4, 2, 3]
    assert len(grown.names) == 7


def test_archives_that_are_refused(pictures: Path, tmp_path: Path) -> None:
    embedded(pictures, tmp_path / "cache")
    with pytest.raises(DataConfigError, match="holds embeddings of another network"):
        embedded(pictures, tmp_path / "cache", made_by="others")
    shard = tmp_path / "cache" / "embeddings-000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(DataError, match="embeddings-000001.safetensors is damaged"):
        embedded(pictures, tmp_path / "cache")
    with pytest.raises(DataConfigError, match="no folder .*nowhere: expected pictures"):
        embedded(tmp_path / "nowhere", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataConfigError, match="no pictures in"):
        embedded(tmp_path / "empty", tmp_path)
    (tmp_path / "empty" / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"x\.png is no picture"):
        embedded(tmp_path / "empty", tmp_path / "other")


VECTORS = {"dog": torch.tensor([3.0, 4.0]), "traffic light": torch.tensor([1.0, -1.0])}


@pytest.mark.parametrize("protocol", [2, 4])
def test_reference_files_of_others(tmp_path: Path, protocol: int) -> None:
    """A pickle of tensors or arrays, torch.save and safetensors; the numbers come through to the last bit."""
    tensors = tmp_path / "tensors.pkl"
    tensors.write_bytes(pickle.dumps(VECTORS, protocol=protocol))
    files = [tensors]
    if protocol == 4:
        (arrays := tmp_path / "arrays.pkl").write_bytes(pickle.dumps({n: v.numpy() for n, v in VECTORS.items()}))
        torch.save(VECTORS, saved := tmp_path / "saved.pth")
        save_file(VECTORS, safe := tmp_path / "safe.safetensors")
        files += [arrays, saved, safe]
    for path in files:
        imported = import_references(path)
        assert imported.made_of == {"imported from": path.name}
        assert {name: vector.tolist() for name, vector in imported.vectors.items()} == {
            name: vector.tolist() for name, vector in VECTORS.items()
        }
        imported.save(tmp_path / "own.safetensors")
        own = References.load(tmp_path / "own.safetensors")
        assert own.made_of == imported.made_of
        assert all(torch.equal(own.vectors[name], vector) for name, vector in VECTORS.items())


def test_reference_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"dog": print}))
    with pytest.raises(UnsafePickleError, match="could run code"):
        import_references(path)
    for content, message in (
        ([1, 2], "holds list: expected vectors by name"),
        ({"dog": "text"}, "dog in .* is str: expected a tensor"),
        ({"dog": torch.ones(2), "cat": torch.ones(3)}, "expected one vector a class, all of the same length"),
        ({"dog": torch.zeros(2)}, "the reference of dog is zero or not finite"),
    ):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(WeightsError, match=message):
            import_references(path)
    path.write_bytes(pickle.dumps(VECTORS)[:100])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        import_references(path)
    safe = tmp_path / "x.safetensors"
    save_file(VECTORS, safe)
    with pytest.raises(ModelFileError, match="does not say how its references were made: import it first"):
        References.load(safe)
    with pytest.raises(FileNotFoundError, match="no references"):
        References.load(tmp_path / "nothing.safetensors")
    with pytest.raises(ConfigError, match=r"no reference of dig \(near dig: dog\): give an archive"):
        References(VECTORS).select(["dig"], "x")


def deit_file(path: Path, distilled: bool) -> Path:
    """A DeiT in miniature."""
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    kind = VisionTransformerDistilled if distilled else VisionTransformer
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = kind(img_size=32, patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=5)
        for parameter in trunk.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    torch.save({"model": trunk.state_dict()}, path)
    return path


@pytest.mark.parametrize("distilled", [True, False])
@torch.inference_mode()
def test_deit(tmp_path: Path, distilled: bool) -> None:
    """Oracle: timm's own model, at its own size."""
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    path = deit_file(tmp_path / "deit.pth", distilled)
    kind = VisionTransformerDistilled if distilled else VisionTransformer
    trunk = kind(img_size=32, patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=5).eval()
    trunk.load_state_dict(torch.load(path)["model"])
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = trunk.forward_features(images)[:, trunk.num_prefix_tokens :]
    encoder = load_deit(path)
    close(encoder(images), tokens.transpose(1, 2).reshape(2, 64, 2, 2), 1e-5)
    assert encoder(torch.zeros(1, 3, 64, 48)).shape == (1, 64, 4, 3)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, wordy_resnet_file: Path) -> Networks:
    return load_networks(deit_file(tmp_path_factory.mktemp("deit") / "deit.pth", distilled=True), wordy_resnet_file)


SETTINGS = ReCoSettings(num_retrieved=3, context=("tree", "sky"))


@pytest.fixture(scope="module")
def archive(pictures: Path, tmp_path_factory: pytest.TempPathFactory, wordy_clip_file: Path) -> ArchiveFiles:
    return ArchiveFiles(pictures, tmp_path_factory.mktemp("embeddings"), str(wordy_clip_file))


def test_classes_are_added_without_changing_the_others(
    networks: Networks, archive: ArchiveFiles, tmp_path: Path
) -> None:
    """References and scores of the first classes: the same bits; and an order of adding changes nothing."""
    path = tmp_path / "references.safetensors"
    images = torch.randn(1, 3, 70, 64, generator=torch.Generator().manual_seed(0))
    first = reco(networks, ["dog", "vegetation"], path, archive=archive, settings=SETTINGS)
    assert first(images).shape == (1, 2, 70, 64)
    before = References.load(path).vectors
    assert set(before) == {"dog", "vegetation", "tree", "sky"}
    assert torch.equal(before["vegetation"], before[SAME_AS["vegetation"]])

    more = reco(networks, ["cart", "dog", "vegetation", "lamp"], path, archive=archive, settings=SETTINGS)
    after = References.load(path).vectors
    assert all(torch.equal(after[name], vector) for name, vector in before.items())
    assert torch.equal(more(images)[:, 1:3], first(images))

    at_once = tmp_path / "at_once.safetensors"
    reco(networks, ["lamp", "cart", "dog", "vegetation"], at_once, archive=archive, settings=SETTINGS)
    assert all(torch.equal(vector, after[name]) for name, vector in References.load(at_once).vectors.items())
    from_file = reco(networks, ["lamp"], path, settings=SETTINGS)
    assert torch.equal(from_file(images), more(images)[:, 3:])


def test_references_that_were_interrupted_are_the_same(
    networks: Networks, archive: ArchiveFiles, tmp_path: Path
) -> None:
    """What was made is kept, context words too; oracle: the file of a run that was not disturbed."""
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    reco(networks, ["dog", "cart"], whole, archive=archive, settings=SETTINGS)
    steps: list[int] = []

    def stop_after_three(done: int, total: int) -> None:
        if total == 4:  # two context words and two classes; the archive has nine pictures
            steps.append(done)
            if done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reco(networks, ["dog", "cart"], broken, archive=archive, settings=SETTINGS, progress=stop_after_three)
    assert set(References.load(broken).vectors) == {"tree", "sky", "dog"}
    again: list[tuple[int, int]] = []
    reco(networks, ["dog", "cart"], broken, archive=archive, settings=SETTINGS, progress=lambda *n: again.append(n))
    assert again[-1] == (1, 1)
    assert broken.read_bytes() == whole.read_bytes()


def test_rows_that_are_refused(
    networks: Networks, archive: ArchiveFiles, tmp_path: Path, wordy_clip_file: Path, wordy_resnet_file: Path
) -> None:
    path = tmp_path / "references.safetensors"
    reco(networks, ["dog"], path, archive=archive, settings=replace(SETTINGS, context=()))
    with pytest.raises(ConfigError, match="was made with another blocks"):
        other = replace(SETTINGS, context=(), blocks="described")
        reco(networks, ["dog", "cat"], path, archive=archive, settings=other)
    with pytest.raises(ConfigError, match="was made with another num_retrieved, context"):
        reco(networks, ["dog"], path, settings=ReCoSettings())
    deit = deit_file(tmp_path / "deit.pth", distilled=False)
    with pytest.raises(ConfigError, match="was made with another encoders"):
        reco(load_networks(deit, wordy_resnet_file), ["dog"], path)
    with pytest.raises(ConfigError, match="has no reference of cat"):
        reco(networks, ["cat"], path)
    imported = tmp_path / "imported.safetensors"
    References(VECTORS, {"imported from": "theirs.pkl"}).save(imported)
    with pytest.raises(ConfigError, match="holds vectors of 2 numbers and the encoder has 64 channels"):
        reco(networks, ["dog"], imported)
    with pytest.raises(ConfigError, match=r"imported from theirs\.pkl, which does not say how it was made"):
        reco(networks, ["cat"], imported, archive=archive, settings=SETTINGS)
    with pytest.raises(WeightsError, match="is no DeiT"):
        load_networks(wordy_clip_file, wordy_clip_file)
    with pytest.raises(WeightsError, match="is no ResNet of CLIP: expected RN50x16"):
        load_networks(deit, wordy_clip_file)
    state = torch.load(deit)["model"]
    torch.save({**state, "extra": torch.ones(1)}, deit)
    with pytest.raises(WeightsError, match="left over: extra"):
        load_deit(deit)


def test_a_crf_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(ConfigError, match=r"needs pydensecrf2, which is not installed: pip install 'tcl-edge\[crf\]'"):
        dense_crf(np.zeros((2, 2, 3), np.uint8), torch.zeros(2, 2, 2))


def test_crf() -> None:
    """Edges of the picture become edges of the labels; oracle: the labels before noise."""
    pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[:, 16:] = 255
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(24, 32, dtype=torch.int64)
    truth[:, 16:] = 1
    noisy = F.one_hot(truth, 2).permute(2, 0, 1) + 0.8 * torch.randn(2, 24, 32, generator=generator)
    smoothed = dense_crf(picture, noisy)
    close(smoothed.sum(dim=0), torch.ones(24, 32), 1e-5)
    assert (smoothed.argmax(dim=0) == truth).float().mean() == 1 > (noisy.argmax(dim=0) == truth).float().mean()
    with pytest.raises(ValueError, match="a picture of shape"):
        dense_crf(picture[:5], noisy)
