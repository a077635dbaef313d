"""Inspection → the body of DetectAnomalies, member by member as AWS answered.

AWS, Lookout for Vision API reference, DetectAnomalyResult. A classification model has exactly three members; a
segmentation model adds the labels found and a mask, whatever the decision on the image.
"""

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from gpu.inspection import Inspection

BACKGROUND_COLOUR = "#FFFFFF"
_AT_THRESHOLD = 128  # grey value of the pixel threshold in the anomaly map of an explanation
_COMPRESSION = 1  # masks are flat areas: stronger compression takes longer and saves nothing


def result(
    inspection: Inspection,
    width: int,
    height: int,
    colours: Sequence[tuple[str, str]] | None,
    explain_threshold: float | None = None,
) -> bytes:
    """The JSON body for an image of this size.

    `colours` are the (label, "#rrggbb") of a segmentation model in the order of their ids, None for a classification
    model. With a pixel threshold an Explanation is added: the anomaly map, where 128 is the threshold.
    """
    probability = inspection.probability
    answer: dict[str, Any] = {
        "Source": {"Type": "direct"},
        "IsAnomalous": inspection.is_anomalous,
        "Confidence": probability if inspection.is_anomalous else 1 - probability,
    }
    if colours is not None:
        ids = _label_ids(inspection, width, height)
        answer["Anomalies"] = _areas(ids, colours)
        answer["AnomalyMask"] = _png(_paint(ids, colours))
    body: dict[str, Any] = {"DetectAnomalyResult": answer}
    if explain_threshold is not None:
        body["Explanation"] = {"AnomalyMap": _png(_grey(inspection, width, height, explain_threshold))}
    return json.dumps(body, separators=(",", ":")).encode()


def _label_ids(inspection: Inspection, width: int, height: int) -> NDArray[np.uint8]:
    if inspection.label_map is None:
        return np.zeros((height, width), np.uint8)
    ids = inspection.label_map[None, None].cpu()
    resized: NDArray[np.uint8] = functional.interpolate(ids, (height, width), mode="nearest-exact")[0, 0].numpy()
    return resized


def _areas(ids: NDArray[np.uint8], colours: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Fractions of the image, the background first; they sum to 1."""
    counts = np.bincount(ids.ravel(), minlength=len(colours) + 1)
    found = [("background", BACKGROUND_COLOUR, counts[0])]
    found += [(name, colour, count) for (name, colour), count in zip(colours, counts[1:], strict=False) if count]
    return [
        {"Name": name, "PixelAnomaly": {"TotalPercentageArea": float(count / ids.size), "Color": colour}}
        for name, colour, count in found
    ]


def _paint(ids: NDArray[np.uint8], colours: Sequence[tuple[str, str]]) -> Image.Image:
    palette = [bytes.fromhex(colour[1:]) for colour in (BACKGROUND_COLOUR, *(colour for _, colour in colours))]
    return Image.fromarray(np.array([list(colour) for colour in palette], np.uint8)[ids])


def _grey(inspection: Inspection, width: int, height: int, threshold: float) -> Image.Image:
    values = inspection.anomaly_map[None, None].float().cpu()
    resized = functional.interpolate(values, (height, width), mode="bilinear")[0, 0]
    scaled = resized * (_AT_THRESHOLD / threshold) if threshold > 0 else (resized > 0) * 255.0
    return Image.fromarray(scaled.round().clamp(0, 255).to(torch.uint8).numpy())


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_COMPRESSION)
    return base64.b64encode(buffer.getvalue()).decode()
