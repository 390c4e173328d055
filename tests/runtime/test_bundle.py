"""Reading and writing bundles. Oracles: hashlib over the files, and damage done on purpose."""

import hashlib
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from runtime.bundle import Bundle, Manifest, file_records, write_bundle
from runtime.errors import BundleCorruptError, BundleError, BundleNotFoundError, BundleVersionError, WriteError


def edit_manifest(bundle: Path, **changes: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_file_of_the_shipped_bundle_has_its_recorded_hash(tiny: Bundle) -> None:
    on_disk = {str(p.relative_to(tiny.path)) for p in tiny.path.rglob("*") if p.is_file()}
    assert on_disk == {*tiny.manifest.files, "manifest.json"}
    for name, record in tiny.manifest.files.items():
        assert hashlib.sha256((tiny.path / name).read_bytes()).hexdigest() == record.sha256


def test_the_shipped_bundle_is_small(tiny: Bundle) -> None:
    assert sum(record.bytes for record in tiny.manifest.files.values()) <= 20_000_000


@pytest.mark.parametrize("name", ["segmenter.onnx", "text_encoder.onnx", "tokenizer.json", "MODEL_CARD.md"])
def test_one_flipped_bit_is_found(bundle_copy: Path, name: str) -> None:
    data = bytearray((bundle_copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle_copy / name).write_bytes(data)
    with pytest.raises(BundleCorruptError, match=f"{name} is not the file that was exported"):
        Bundle.open(bundle_copy)


def test_a_missing_file_is_named(bundle_copy: Path) -> None:
    (bundle_copy / "segmenter.onnx").unlink()
    with pytest.raises(BundleCorruptError, match=r"segmenter\.onnx cannot be read"):
        Bundle.open(bundle_copy)


def test_a_truncated_file_is_named(bundle_copy: Path) -> None:
    data = (bundle_copy / "segmenter.onnx").read_bytes()
    (bundle_copy / "segmenter.onnx").write_bytes(data[:-1])
    with pytest.raises(BundleCorruptError, match=f"{len(data) - 1} bytes"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "..\\b", "C:b", ""])
def test_file_names_may_not_leave_the_bundle(bundle_copy: Path, name: str) -> None:
    edit_manifest(bundle_copy, files={name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(BundleCorruptError, match="points outside the bundle"):
        Bundle.open(bundle_copy)


def test_links_may_not_leave_the_bundle(bundle_copy: Path, tmp_path: Path) -> None:
    outside = (bundle_copy / "MODEL_CARD.md").rename(tmp_path / "outside.md")
    (bundle_copy / "MODEL_CARD.md").symlink_to(outside)
    with pytest.raises(BundleCorruptError, match="link that leaves the bundle"):
        Bundle.open(bundle_copy)


def test_a_newer_schema_asks_for_an_upgrade(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, schema_version=99, something_new=True)
    with pytest.raises(BundleVersionError, match=r"schema 99, this package reads up to 2.*take a newer checkout"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"<html>404</html>", "is not JSON"),
        (b"[]", "names no schema_version"),
        (b'{"schema_version": 1}', "not a valid manifest .*name: Field required"),
    ],
)
def test_a_malformed_manifest_is_explained(bundle_copy: Path, manifest: bytes, message: str) -> None:
    (bundle_copy / "manifest.json").write_bytes(manifest)
    with pytest.raises(BundleCorruptError, match=message):
        Bundle.open(bundle_copy)


def test_a_bundle_without_a_manifest_is_explained(bundle_copy: Path) -> None:
    (bundle_copy / "manifest.json").unlink()
    with pytest.raises(BundleCorruptError, match=r"has no manifest\.json: export the bundle again"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize(
    ("record", "field", "values"),
    [
        ("source", "kp_weight", (-0.1, 1.1)),
        ("input", "multiple_of", (0,)),
        ("background", "threshold", (-0.1, 1.1)),
        ("files", "segmenter.onnx", ({"sha256": "0" * 63, "bytes": 1}, {"sha256": "G" * 64, "bytes": 1})),
        ("files", "segmenter.onnx", ({"sha256": "0" * 64, "bytes": -1}, {"sha256": "0" * 65, "bytes": 1})),
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    record: str, field: str, values: tuple[object, ...], tiny: Bundle
) -> None:
    data = tiny.manifest.model_dump(mode="json")
    Manifest.model_validate(data)
    for value in values:
        with pytest.raises(ValidationError, match=rf"{record}\.`?{field}"):
            Manifest.model_validate(data | {record: data[record] | {field: value}})


def test_the_fingerprint_is_that_of_the_text_embeddings(tiny: Bundle) -> None:
    """Identity: it changes with the model, its weights and the length of its embeddings, and with nothing else."""
    plain, source, output = tiny.manifest, tiny.manifest.source, tiny.manifest.output
    changes = [
        {"source": source.model_copy(update={"model": "other"})},
        {"source": source.model_copy(update={"checkpoint_sha256": "0" * 64})},
        {"output": output.model_copy(update={"channels": output.channels + 1})},
    ]
    prints = {plain.model_copy(update=change).fingerprint for change in changes}
    assert len(prints | {plain.fingerprint}) == 4
    assert plain.model_copy(update={"name": "other", "licence": "other"}).fingerprint == plain.fingerprint


def test_an_unknown_key_of_the_manifest_is_refused(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, colour="blue")
    with pytest.raises(BundleCorruptError, match="colour: Extra inputs"):
        Bundle.open(bundle_copy)


def test_a_missing_bundle_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match=r"no bundle 'huge'.*tiny"):
        Bundle.open("huge")
    with pytest.raises(BundleNotFoundError, match=r"no bundle '\.\./models/tiny'"):
        Bundle.open("../models/tiny")
    (tmp_path / "x.tclb").write_text("a file")
    with pytest.raises(BundleNotFoundError, match="is a file: a bundle is a directory"):
        Bundle.open(tmp_path / "x.tclb")


def test_writing_gives_what_reading_finds(tiny: Bundle, tmp_path: Path) -> None:
    files = {name: tiny.read(name) for name in tiny.manifest.files}
    written = write_bundle(tmp_path / "new" / "folder" / "again.tclb", tiny.manifest, files)
    assert written.manifest == tiny.manifest
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["again.tclb"]


def test_a_manifest_of_other_files_is_not_written(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"build it with file_records\(\)"):
        write_bundle(tmp_path / "new.tclb", tiny.manifest, {"a": b"1"})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_replaced_only_when_asked(tiny: Bundle, bundle_copy: Path) -> None:
    files = {"a": b"new"}
    manifest: Manifest = tiny.manifest.model_copy(update={"files": file_records(files)})
    with pytest.raises(BundleError, match="exists: choose another --output, or add --overwrite"):
        write_bundle(bundle_copy, manifest, files)
    assert Bundle.open(bundle_copy).manifest == tiny.manifest
    assert write_bundle(bundle_copy, manifest, files, overwrite=True).read("a") == b"new"
    assert [p.name for p in bundle_copy.parent.iterdir()] == [bundle_copy.name]


def test_a_folder_that_is_no_bundle_is_never_replaced(tiny: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "thesis.tclb"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    files = {name: tiny.read(name) for name in tiny.manifest.files}
    with pytest.raises(BundleError, match="is not a bundle"):
        write_bundle(folder, tiny.manifest, files, overwrite=True)
    assert (folder / "thesis.txt").read_text() == "years of work"
    for name in ("thesis", "thesis.zip", "thesis.ZIP"):
        with pytest.raises(BundleError, match=r"ending in \.tclb"):
            write_bundle(tmp_path / name, tiny.manifest, files)
    with pytest.raises(BundleError, match=r"and .*thesis\.txt is no folder"):
        write_bundle(folder / "thesis.txt" / "x.tclb", tiny.manifest, files)


def test_a_failed_write_leaves_nothing(tiny: Bundle, tmp_path: Path) -> None:
    files = {"a": b"1", "a/b": b"2"}  # a file and a folder of the same name: the second write fails
    manifest = tiny.manifest.model_copy(update={"files": file_records(files)})
    with pytest.raises(WriteError):
        write_bundle(tmp_path / "new.tclb", manifest, files)
    assert list(tmp_path.iterdir()) == []


def test_the_schema_before_this_one_is_still_read(bundle_copy: Path) -> None:
    """Oracle: the same manifest without what schema 2 added."""
    path = bundle_copy / "manifest.json"
    data = json.loads(path.read_text())
    data["schema_version"] = 1
    data.pop("operations", None)
    data["source"].pop("kp_weight", None)
    for record in data["parity"]:
        record.pop("cosine", None)
    for graph in (data["segmenter"], data["text_encoder"]):
        graph.pop("kept_fp32", None)
    data["input"].pop("antialias", None)
    data["background"].pop("threshold", None)
    path.write_text(json.dumps(data))
    manifest = Bundle.open(bundle_copy).manifest
    assert (manifest.operations, manifest.source.kp_weight, manifest.segmenter.kept_fp32) == (None, 0, ())
    assert {record.cosine for record in manifest.parity} == {None}
    assert (manifest.input.antialias, manifest.background.threshold) == (False, None)


def test_a_schema_older_than_the_first_is_refused(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, schema_version=0)
    with pytest.raises(BundleVersionError, match=r"schema 0, this package reads 1 to 2: export it again"):
        Bundle.open(bundle_copy)
