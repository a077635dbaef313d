"""Where backbone weights come from: files, their digests, and the network only when the caller allows it."""

import hashlib
import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors import torch as safetensors_torch
from torch import Tensor

_FILES = {  # of torchvision's IMAGENET1K_V1
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "wide_resnet50_2": "wide_resnet50_2-95faca4d.pth",
}
PACKAGED = {name: Path(__file__).parent / "pretrained" / f"{name}.safetensors" for name in ("vigil-s", "vigil-m")}
_SUFFIXES = (".pth", ".safetensors")
_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8})\.pth$")


class WeightsError(Exception):
    """Backbone weights are missing, damaged or not those of the backbone; the message says what to do."""


def find_weights(name: str, directory: Path | None) -> Path | None:
    """The weights file of a backbone: the packaged one, else from the directory; None where there is none.

    In the directory torchvision's own file comes first, then any `<name>-*` or `<name>` with the suffix .pth or
    .safetensors, in the order of their names.
    """
    if name in PACKAGED:
        return PACKAGED[name]
    if directory is None or not directory.is_dir():
        return None
    found = [
        path
        for path in sorted(directory.iterdir())
        if path.suffix in _SUFFIXES and (path.stem == name or path.stem.startswith(f"{name}-")) and path.is_file()
    ]
    return next((path for path in found if path.name == file_name(name)), next(iter(found), None))


def load_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a .pth or .safetensors file → (float32 state dict, SHA-256 of the file in hex).

    A digest in the file's name, as torchvision puts it there, is checked. Raises WeightsError.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"The backbone weights {path} cannot be read ({error.strerror}).") from error
    digest = hashlib.sha256(data).hexdigest()
    promised = _DIGEST_IN_NAME.search(path.name)
    if promised and not digest.startswith(promised[1]):
        raise WeightsError(
            f"The backbone weights {path} are damaged: the name promises a SHA-256 that begins with {promised[1]}, "
            f"the file has {digest[:8]}. Copy the file again."
        )
    try:
        if path.suffix == ".safetensors":
            state = safetensors_torch.load(data)
        else:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise WeightsError(f"The file {path} cannot be read as weights ({error}). Copy it again.") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"The file {path} holds no plain state dict, so its weights cannot be used.")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}, digest


def download_weights(name: str, directory: Path) -> Path:
    """Fetch torchvision's weights of a backbone into the directory, digest checked. Raises WeightsError.

    Called only where the operator allowed downloads; a half file never gets the final name.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / file_name(name)
    digest = _DIGEST_IN_NAME.search(path.name)
    try:
        torch.hub.download_url_to_file(_url(name), str(path), hash_prefix=digest[1] if digest else None, progress=False)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"The weights of {name} could not be downloaded ({error}). Put the file {path.name} into {directory}."
        ) from error
    return path


def file_name(name: str) -> str:
    """torchvision's name for the file of a backbone's ImageNet weights."""
    return _FILES[name]


def _url(name: str) -> str:
    import torchvision  # takes a second and 190 MB, and only a download needs it

    return str(torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url)
