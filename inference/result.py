"""Inspection → the body of DetectAnomalies, member by member as AWS answered.

AWS, Lookout for Vision API reference, DetectAnomalyResult. A classification model has exactly three members; a
segmentation model adds the labels found and a mask, whatever the decision on the image.
"""

import base64
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from gpu.explanation import Box, Region
from gpu.inspection import Inspection

BACKGROUND_COLOUR = "#FFFFFF"
_AT_THRESHOLD = 128  # grey value of the pixel threshold in the anomaly map of an explanation
_ROUNDING = 1e-6  # pixels: far above the error of a fraction in double precision
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
    model. An Explanation is added with a pixel threshold (the anomaly map, where 128 is the threshold) and for an
    inspection that has regions; boxes are whole pixels, of this image or of the training image they are in.
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
    explanation: dict[str, Any] = {}
    if explain_threshold is not None:
        explanation["AnomalyMap"] = _png(_grey(inspection, width, height, explain_threshold))
    if inspection.regions is not None:
        explanation["Regions"] = [_region(region, width, height) for region in inspection.regions]
    if explanation:
        body["Explanation"] = explanation
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


def _region(region: Region, width: int, height: int) -> dict[str, Any]:
    told: dict[str, Any] = {"Box": _pixels(region.box, width, height), "Patch": _pixels(region.patch, width, height)}
    if region.nearest is not None:
        source = region.nearest.source
        box = _pixels(region.nearest.box, source.width, source.height)
        told["NearestNormal"] = {"SourceRef": source.name, "Patch": box}
    return told


def _pixels(box: Box, width: int, height: int) -> dict[str, int]:
    """All pixels that the box touches; one on the edge by rounding alone does not count."""
    left, top = math.floor(box.left * width + _ROUNDING), math.floor(box.top * height + _ROUNDING)
    right, bottom = math.ceil(box.right * width - _ROUNDING), math.ceil(box.bottom * height - _ROUNDING)
    return {"Left": left, "Top": top, "Width": right - left, "Height": bottom - top}


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_COMPRESSION)
    return base64.b64encode(buffer.getvalue()).decode()
