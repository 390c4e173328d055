"""The whole export: words encoded -> segmenter rewritten, traced, in its precision, compared with PyTorch -> bundle."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from export.comparison import run_pytorch, verdict
from export.contract import Contract, segmenter_contract
from export.graph import SegmenterGraph, mask_stride
from export.options import Options, check
from export.pictures import load_pictures
from export.precision import LoweredGraph, lower_precision
from export.stages import Stages
from export.subject import Subject
from export.text import TextGraph, export_text
from export.tracing import count_operations, trace_segmenter
from runtime.bundle import (
    SCHEMA_VERSION,
    BackgroundSpec,
    Bundle,
    Manifest,
    OperationsRecord,
    OutputSpec,
    ParityRecord,
    SourceRecord,
    check_replaceable,
    file_records,
    write_bundle,
)
from runtime.errors import VocabularyError
from runtime.words.vocabulary import parse_classes, split_background
from runtime.words.word_class import WordClass

VOCABULARY = "vocabularies/default.safetensors"
MODEL_CARD = "MODEL_CARD.md"


def export_bundle(
    subject: Subject,
    classes: str | Iterable[str] | None,
    output: Path,
    options: Options,
    *,
    overwrite: bool = False,
    stages: Stages | None = None,
) -> Bundle:
    """Export a model with its words: check, load, rewrite and trace, lower the precision, compare, write.

    Args:
        subject: the model.
        classes: as in `runtime.words.vocabulary.parse_classes`; None for the subject's own.
        output: the bundle's directory.
        options: how.
        overwrite: replace a bundle that is there already.
        stages: keeps results of an earlier run, and is told what begins.

    Raises:
        ExportError: the options make no sense, or an exported graph differs from PyTorch. Nothing is written.
        VocabularyError: the words cannot be segmented. Nothing is written.
        BundleError: `output` cannot be written.
    """
    stages = stages or Stages()
    check_replaceable(output, overwrite=overwrite)
    check(options, subject)
    words, background = split_background(parse_classes(subject.classes if classes is None else classes))
    if background is not None:
        subject = replace(subject, background=_with_class(subject.background, background))
    pictures = load_pictures(options.calibration)

    text = export_text(subject, options, words, stages)
    contract = segmenter_contract(subject, options, text.vocabulary.embeddings)
    reference = SegmenterGraph(subject.model, options.kp_weight).eval()
    traced = trace_segmenter(reference, options.rewriting, contract, stages)
    operations = count_operations(traced, stages)
    comparison = run_pytorch(reference, contract, pictures, options, stages)
    lowered = lower_precision(traced, comparison, pictures, options, stages)
    parity = verdict(lowered.data, comparison, traced, stages, force=options.force)

    stages.tell("writing the bundle", "begins")
    files = _files(subject, options, text, lowered)
    manifest = _manifest(
        subject, options, text, contract, lowered, name=output.stem, operations=operations, parity=parity, files=files
    )
    return write_bundle(output, manifest, files, overwrite=overwrite)


def _with_class(spec: BackgroundSpec, typed: WordClass) -> BackgroundSpec:
    """Take the synonyms and the threshold of the class called background as those of the bundle's background."""
    spec = BackgroundSpec(
        threshold=spec.threshold if typed.threshold is None else typed.threshold, words=typed.synonyms or spec.words
    )
    if spec.threshold is None and not spec.words:
        raise VocabularyError(
            f"nothing says what {typed.name!r} looks like, neither words nor a threshold: write "
            f"{typed.name}|wall|floor or {typed.name}:0.3"
        )
    return spec


def _files(subject: Subject, options: Options, text: TextGraph, lowered: LoweredGraph) -> dict[str, bytes]:
    files = {
        lowered.spec.file: lowered.data,
        VOCABULARY: text.vocabulary.to_bytes(),
        MODEL_CARD: subject.model_card,
    }
    if options.keeps_text_encoder:
        files |= {text.spec.file: text.data, subject.text.tokenizer: subject.tokenizer}
    return files


def _manifest(
    subject: Subject,
    options: Options,
    text: TextGraph,
    contract: Contract,
    lowered: LoweredGraph,
    *,
    name: str,
    operations: OperationsRecord,
    parity: tuple[ParityRecord, ...],
    files: dict[str, bytes],
) -> Manifest:
    background = subject.background
    if not options.keeps_text_encoder:  # words that are also classes could not be encoded any more
        background = background.model_copy(update={"words": text.vocabulary.background})
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        licence=subject.licence,
        source=SourceRecord(
            model=subject.name, checkpoint_sha256=subject.checkpoint_sha256, kp_weight=options.kp_weight
        ),
        input=contract.input,
        segmenter=lowered.spec,
        text_encoder=text.spec if options.keeps_text_encoder else None,
        text=subject.text if options.keeps_text_encoder else None,
        output=OutputSpec(stride=mask_stride(subject.model), refine=subject.refine, channels=contract.channels),
        background=background,
        vocabulary=VOCABULARY,
        parity=parity,
        operations=operations.model_copy(update={"int8_share": lowered.int8_share}),
        files=file_records(files),
    )
