"""The whole export: text encoder and words -> segmenter in its precision, compared with PyTorch -> bundle."""

from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from export.graph import mask_stride
from export.options import Options, check
from export.stages import Stages
from export.subject import Subject
from export.text import FILE as TEXT_ENCODER
from export.text import TextGraph, export_text
from export.tracing import Segmenter, SegmenterExport
from runtime.bundle import (
    SCHEMA_VERSION,
    Bundle,
    InputSpec,
    Manifest,
    OutputSpec,
    SourceRecord,
    check_replaceable,
    file_records,
    write_bundle,
)
from runtime.words.vocabulary import parse_classes

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
    """Export a model with its words.

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
    words = parse_classes(subject.classes if classes is None else classes)
    text = export_text(subject, options, words, stages)
    export = SegmenterExport(subject, options, text.vocabulary.embeddings, stages)
    segmenter = export.run()
    stages.tell("writing the bundle", "begins")
    files = {
        segmenter.spec.file: segmenter.data,
        VOCABULARY: text.vocabulary.to_bytes(),
        MODEL_CARD: subject.model_card,
    }
    if options.keeps_text_encoder:
        files |= {TEXT_ENCODER: text.data, subject.text.tokenizer: subject.tokenizer}
    manifest = _manifest(subject, options, output.stem, export.input_spec, segmenter, text, files)
    return write_bundle(output, manifest, files, overwrite=overwrite)


def _manifest(
    subject: Subject,
    options: Options,
    name: str,
    input_spec: InputSpec,
    segmenter: Segmenter,
    text: TextGraph,
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
        input=input_spec,
        segmenter=segmenter.spec,
        text_encoder=text.spec if options.keeps_text_encoder else None,
        text=subject.text if options.keeps_text_encoder else None,
        output=OutputSpec(
            stride=mask_stride(subject.model),
            refine=subject.refine,
            channels=text.vocabulary.embeddings.shape[1],
        ),
        background=background,
        vocabulary=VOCABULARY,
        parity=segmenter.parity,
        operations=segmenter.operations,
        files=file_records(files),
    )
