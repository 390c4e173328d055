"""ReCo from files of weights, references or an archive of pictures, and names of classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tcl_core.baselines.reco.archive import embed_archive
from tcl_core.baselines.reco.features import centre_crop, load_deit, to_pixels
from tcl_core.baselines.reco.network import Encoders, ReCo
from tcl_core.baselines.reco.references import (
    IMPORTED,
    SAME_AS,
    Maps,
    ReCoSettings,
    ReferenceMaker,
    References,
    Texts,
)
from tcl_core.encoder import TextEncoder
from tcl_core.errors import ConfigError, WeightsError
from tcl_core.load.fingerprint import fingerprint
from tcl_core.prompts import embed_words, templates
from tcl_core.towers.official import load_clip
from tcl_core.towers.open_clip import image_encoder_from, text_encoder_from
from tcl_core.towers.resnet import ResNetEncoder

TEMPLATES = "maskclip"
"""85 prompts, each normalised before they are averaged."""
PICTURE_SIZE = 224
"""Short side and centre crop of what is co-segmented."""
AT_ONCE = 10
"""Pictures encoded at once."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Networks:
    """What sees pictures, and the text tower that belongs to the dense one."""

    encoders: Encoders
    dense_text: TextEncoder

    def fingerprint(self) -> str:
        """Hash the weights."""
        return fingerprint([self.encoders, self.dense_text])


def text_of(encoder: TextEncoder, name: str) -> Tensor:
    """Embed a class by itself, so that no other changes its last bits: (C,), unit, on the CPU."""
    return embed_words(encoder, [name], templates(TEMPLATES))[0].cpu()


def load_networks(encoder: Path, dense_clip: str | Path, dense_pretrained: str | None = None) -> Networks:
    """Load what sees pictures.

    Args:
        encoder: weights of DeiT-S/16 (SIN), see `load_deit`.
        dense_clip: file of OpenAI's RN50x16, or an open_clip name.
        dense_pretrained: weights for a name.

    Raises:
        ValueError: no such CLIP.
        WeightsError: weights that are damaged, unsafe, or of another network.
    """
    features, clip = load_deit(encoder), load_clip(dense_clip, dense_pretrained)
    dense = image_encoder_from(clip)
    if not isinstance(dense, ResNetEncoder):
        raise WeightsError(
            f"{clip.name} is no ResNet of CLIP: expected RN50x16, whose last map ReCo reads densely (RN50x16-quickgelu "
            "with pretrained openai, or OpenAI's RN50x16.pt)"
        )
    return Networks(Encoders(features, dense).eval(), text_encoder_from(clip))


@dataclass(frozen=True)
class ArchiveFiles:
    """Where references come from that are not in a file yet.

    Attributes:
        pictures: folder to retrieve from, ImageNet-1k's training pictures in the paper.
        embeddings: folder in which those of the pictures are kept.
        clip: file or name of the CLIP that retrieves, ViT-L/14@336 in the paper.
        pretrained: weights for a name.
        device: where pictures are embedded and encoded.
    """

    pictures: Path
    embeddings: Path
    clip: str
    pretrained: str | None = None
    device: str = "cpu"


def reference_maker(
    networks: Networks, files: ArchiveFiles, settings: ReCoSettings, progress: Progress | None = None
) -> tuple[ReferenceMaker, dict[str, Any]]:
    """Embed the archive, as far as that was not done, and make ready to make references.

    Returns:
        The maker, and what its references depend on.

    Raises:
        DataConfigError: no pictures, or embeddings of another network.
        DataError: damaged pictures.
        ValueError, WeightsError: see `load_clip`.
    """
    clip = load_clip(files.clip, files.pretrained)
    retriever = image_encoder_from(clip).to(files.device)
    size = clip.model.visual.image_size
    side = int(size if isinstance(size, int) else size[0])

    def read_for_clip(picture: Image.Image) -> Tensor:  # as CLIP's own preprocessing: bicubic, its statistics
        return to_pixels(centre_crop(picture, side, Image.Resampling.BICUBIC), clip.mean, clip.std)

    def embed(images: Tensor) -> Tensor:
        return retriever.embed(images.to(files.device))

    retriever_hash = fingerprint([clip.model])
    archive = embed_archive(
        files.pictures, files.embeddings, embed, read_for_clip, f"{retriever_hash} {side}", progress=progress
    )
    encoders = networks.encoders.to(files.device)
    preprocess = encoders.preprocess

    def maps_of(indices: Sequence[int]) -> Maps:
        parts = []
        for start in range(0, len(indices), AT_ONCE):
            pictures = [centre_crop(archive.open(index), PICTURE_SIZE) for index in indices[start : start + AT_ONCE]]
            images = torch.stack([to_pixels(picture, preprocess.mean, preprocess.std) for picture in pictures])
            parts.append(encoders(images.to(files.device)))
        features, dense = zip(*parts, strict=True)
        return Maps(torch.cat(features), torch.cat(dense))

    text_encoder = text_encoder_from(clip).to(files.device)

    def texts_of(name: str) -> Texts:
        return Texts(text_of(text_encoder, name), text_of(networks.dense_text, name))

    made_of = {
        **settings.of_references(),
        "picture_size": PICTURE_SIZE,
        "templates": TEMPLATES,
        "archive": archive.made_of,
        "retriever": retriever_hash,
        "encoders": networks.fingerprint(),
    }
    return ReferenceMaker(archive.embeddings, maps_of, texts_of, settings), made_of


def complete_references(
    path: Path,
    classes: Sequence[str],
    maker: Callable[[], tuple[ReferenceMaker, Mapping[str, Any]]],
    progress: Progress | None = None,
) -> References:
    """Make the references that a file lacks, and write it after each: what was there stays as it is.

    Those of the context words come first, and are kept too: later classes need them.

    Args:
        path: of the file, which may not be there yet.
        classes: that are wanted.
        maker: called if one is missing; gives the maker and what its references depend on.
        progress: called with (classes done, classes in all).

    Raises:
        ConfigError: the file was made in another way, or by others.
        WriteError: it cannot be written.
    """
    known = References.load(path) if path.is_file() else None
    missing = [name for name in dict.fromkeys(classes) if known is None or name not in known.vectors]
    if not missing:
        assert known is not None
        return known
    make, made_of = maker()
    if known is None:
        known = References({}, made_of)
    _check_same(path, known.made_of, made_of)
    make.recall(known.vectors)
    missing = [name for name in dict.fromkeys([*make.context_words, *missing]) if name not in known.vectors]
    for done, name in enumerate(missing, start=1):
        known = known.with_class(name, make.reference(name))
        known.save(path)
        if progress:
            progress(done, len(missing))
    return known


def _check_same(path: Path, known: Mapping[str, Any], made_of: Mapping[str, Any]) -> None:
    if IMPORTED in known:
        raise ConfigError(
            f"{path} was imported from {known[IMPORTED]}, which does not say how it was made: references made here are "
            "not mixed with it; name another file"
        )
    differing = [name for name in made_of if known.get(name) != made_of[name]]
    if differing:
        name = differing[0]
        raise ConfigError(
            f"{path} was made with another {', '.join(differing)} ({name} {known.get(name)}, now {made_of[name]}): "
            "name another file, or go back to what it was made with"
        )


def reco(
    networks: Networks,
    classes: Sequence[str],
    references: Path,
    *,
    archive: ArchiveFiles | None = None,
    settings: ReCoSettings | None = None,
    progress: Progress | None = None,
) -> ReCo:
    """Build the row ReCo.

    Calling it again with more classes makes only their references.

    Args:
        networks: see `load_networks`.
        classes: what is prompted, one text a class.
        references: file that holds, or gets, those of the classes; others' files are imported first
            (`import_references(path).save(other)`).
        archive: to make those that are missing.
        settings: see there. References that are there have to be made so, unless they are of others.
        progress: called with (pictures or classes done, in all).

    Raises:
        ConfigError: references are missing and there is no archive, or the file was made in another way.
        DataError, WeightsError, ModelFileError: files that are damaged or of other networks.
    """
    known = References.load(references) if archive is None or references.is_file() else None
    if known is not None and IMPORTED not in known.made_of:
        expected = settings.of_references() if settings else {}
        _check_same(references, known.made_of, {**expected, "encoders": networks.fingerprint()})
    settings = settings or ReCoSettings()
    if archive is not None:
        known = complete_references(
            references, classes, partial(reference_maker, networks, archive, settings, progress), progress
        )
    assert known is not None
    wanted = [name if name in known.vectors else SAME_AS.get(name, name) for name in classes]
    vectors = known.select(wanted, str(references))
    text = torch.stack([text_of(networks.dense_text, name) for name in classes]) if settings.text_in_scores else None
    if vectors.shape[1] != networks.encoders.features.dim:
        raise ConfigError(
            f"{references} holds vectors of {vectors.shape[1]} numbers and the encoder has "
            f"{networks.encoders.features.dim} channels: expected references made with that encoder"
        )
    return ReCo(networks.encoders.cpu(), vectors, text, known.made_of).eval()


__all__ = ["ArchiveFiles", "Networks", "complete_references", "load_networks", "reco", "reference_maker"]
