"""A trained inspector ↔ one safetensors file: tensors, and canonical JSON in its header. No code, no pickle."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol

import safetensors
import torch
from safetensors import torch as safetensors_torch
from torch import Tensor

from gpu.backbone import Backbone
from gpu.calibration import Calibration
from gpu.detector import restore_detector
from gpu.discriminator import Discriminator
from gpu.explanation import Source
from gpu.inspection import Inspector, References
from gpu.labelling import DefectBank
from gpu.patch_embedding import Embedding
from gpu.patch_head import PatchHead

FORMAT_VERSION = 4  # 1 had another discriminator, and no patch head; 2 neither grid nor whitening; 3 other scores
_KEY = "vigil"  # of the header's metadata
_REFERENCES = 4  # images kept for the self-test, at most


class BackboneLoader(Protocol):
    """Gives the backbone of a name, with these layers."""

    def __call__(self, name: str, *, layers: tuple[str, ...]) -> Backbone: ...


class ArtefactError(Exception):
    """The artefact cannot be used here; the message names what it needs and what there is."""


def save(
    inspector: Inspector, references: Tensor, software_version: str, dimensions: tuple[int, int] | None = None
) -> bytes:
    """The inspector and up to four prepared reference images uint8 (R, 3, h, w), scored now, as one file.

    dimensions: (width, height) of the training images, where all have the same. The same arguments give the same bytes.
    """
    images = references[:_REFERENCES].cpu()
    found = inspector.inspect(images) if len(images) else []
    bank, embedding = inspector.defect_bank, inspector.embedding
    backbone = embedding.backbone
    header = {
        "format_version": FORMAT_VERSION,
        "software_version": software_version,
        "detector": {"name": inspector.detector.name, "config": inspector.detector.config()},
        "backbone": {"name": backbone.name, "digest": backbone.digest, "layers": backbone.layers},
        "stride": embedding.stride,
        "calibration": dataclasses.asdict(inspector.calibration),
        "input_size": inspector.input_size,
        "dimensions": dimensions,
        "defects": {"names": bank.names, "colours": bank.colours} if bank else None,
        "discriminator": inspector.discriminator is not None,
        "patch_head": inspector.patch_head is not None,
        "sources": [dataclasses.astuple(source) for source in inspector.sources],
        "references": {"scores": [i.score for i in found], "decisions": [i.is_anomalous for i in found]},
    }
    tensors = {f"detector.{name}": tensor for name, tensor in inspector.detector.state().items()}
    tensors["references.images"] = images
    if bank:
        tensors |= {"defects.embeddings": bank.embeddings, "defects.labels": bank.labels}
    if inspector.patch_head:
        tensors |= {f"patch_head.{name}": tensor for name, tensor in inspector.patch_head.state().items()}
    if inspector.discriminator:
        tensors |= {f"discriminator.{name}": tensor for name, tensor in inspector.discriminator.state().items()}
    metadata = {_KEY: json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)}
    return safetensors_torch.save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata)


def load(
    data: bytes, backbone_loader: BackboneLoader, device: torch.device | str = "cpu"
) -> tuple[Inspector, References]:
    """The inspector on the device, and the reference images of its self-test.

    Raises ArtefactError for a damaged file, another format version, or a backbone with other weights.
    """
    header = read_header(data)
    wanted = header["backbone"]
    try:
        backbone = backbone_loader(wanted["name"], layers=tuple(wanted["layers"])).to(device)
    except ValueError as error:
        raise ArtefactError(f"The model artefact needs what this version does not have: {error}") from error
    _same("backbone weights", wanted["digest"], backbone.digest)
    try:
        tensors = safetensors_torch.load(data)
        described = header["detector"]
        detector = restore_detector(described["name"], described["config"], _under("detector.", tensors))
        bank, defects = None, header["defects"]
        if defects is not None:
            names, colours = tuple(defects["names"]), tuple(defects["colours"])
            bank = DefectBank(tensors["defects.embeddings"], tensors["defects.labels"], names, colours)
        discriminator = Discriminator(**_under("discriminator.", tensors)) if header["discriminator"] else None
        patch_head = PatchHead(**_under("patch_head.", tensors)) if header["patch_head"] else None
        stored = header["references"]
        references = References(tensors["references.images"], tuple(stored["scores"]), tuple(stored["decisions"]))
        height, width = header["input_size"]
        calibration = Calibration(**header["calibration"])
        embedding = Embedding(backbone, int(header["stride"]))
        sources = tuple(Source(*source) for source in header["sources"])
    except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise ArtefactError(f"The model artefact is damaged and cannot be read ({error!r}).") from error
    size = height, width
    inspector = Inspector(embedding, detector, calibration, size, bank, references, discriminator, sources, patch_head)
    return inspector, references


def read_header(data: bytes) -> dict[str, Any]:
    """The artefact's description, without its tensors. Raises ArtefactError for another format."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
        version, _ = header["format_version"], [header["backbone"][key] for key in ("name", "digest", "layers")]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError("The file is not a Vigil model artefact, or it is damaged.") from error
    _same("format version", version, FORMAT_VERSION)
    return dict(header)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _same(what: str, stored: object, here: object) -> None:
    if stored != here:
        raise ArtefactError(f"The model artefact was made with {what} {stored}; here is {here}. Train the model again.")
