"""The body of DetectAnomalies, member by member."""

import base64
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gpu.explanation import Box, NormalPatch, Region, Source
from gpu.inspection import Inspection
from inference.result import result

COLOURS = [("scratch", "#2CA02C"), ("dent", "#1f77b4")]


def inspection(labels: list[list[int]] | None, *, anomalous: bool = True, probability: float = 0.9) -> Inspection:
    label_map = None if labels is None else torch.tensor(labels, dtype=torch.uint8)
    return Inspection(1.0, probability, anomalous, torch.tensor([[0.0, 1.0], [2.0, 8.0]]), label_map)


def answer(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)["DetectAnomalyResult"]
    return found


def image(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_classification_has_exactly_three_members() -> None:
    body = result(inspection(None, probability=0.75), 20, 10, None)
    assert body == b'{"DetectAnomalyResult":{"Source":{"Type":"direct"},"IsAnomalous":true,"Confidence":0.75}}'


def test_confidence_is_that_of_the_returned_class() -> None:
    assert answer(result(inspection(None, anomalous=False, probability=0.25), 2, 2, None))["Confidence"] == 0.75


def test_labels_and_areas_at_the_size_of_the_image() -> None:
    found = answer(result(inspection([[0, 0], [2, 0]]), 40, 20, COLOURS))
    assert found["Anomalies"] == [
        {"Name": "background", "PixelAnomaly": {"TotalPercentageArea": 0.75, "Color": "#FFFFFF"}},
        {"Name": "dent", "PixelAnomaly": {"TotalPercentageArea": 0.25, "Color": "#1f77b4"}},
    ]
    mask = image(found["AnomalyMask"])
    assert (mask.mode, mask.size, mask.format) == ("RGB", (40, 20), "PNG")
    pixels = np.asarray(mask)
    assert (pixels[10:, :20] == (0x1F, 0x77, 0xB4)).all()
    assert (pixels[:10] == 255).all()


@pytest.mark.parametrize("labels", [None, [[0, 0], [0, 0]]])
def test_normal_image_of_a_segmentation_model_has_a_white_mask(labels: list[list[int]] | None) -> None:
    found = answer(result(inspection(labels, anomalous=False, probability=0.1), 30, 20, COLOURS))
    assert [(a["Name"], a["PixelAnomaly"]["TotalPercentageArea"]) for a in found["Anomalies"]] == [("background", 1.0)]
    assert image(found["AnomalyMask"]).getcolors() == [(600, (255, 255, 255))]


@given(
    st.integers(1, 90), st.integers(1, 90), st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1)
)
def test_areas_sum_to_one(width: int, height: int, labels: list[list[int]]) -> None:
    found = answer(result(inspection(labels), width, height, COLOURS))
    assert sum(a["PixelAnomaly"]["TotalPercentageArea"] for a in found["Anomalies"]) == pytest.approx(1)
    assert image(found["AnomalyMask"]).size == (width, height)


def test_boxes_are_the_pixels_that_they_touch() -> None:
    nearest = NormalPatch(Source("s3://b/ä.png", 30, 10), Box(1 / 3, 0.0, 2 / 3, 1.0))
    found = replace(inspection(None), regions=(Region(Box(0.1, 0.25, 0.3, 1.0), Box(0.0, 0.5, 0.5, 0.75), nearest),))
    assert json.loads(result(found, 50, 10, None))["Explanation"] == {
        "Regions": [
            {
                "Box": {"Left": 5, "Top": 2, "Width": 10, "Height": 8},
                "Patch": {"Left": 0, "Top": 5, "Width": 25, "Height": 3},
                "NearestNormal": {
                    "SourceRef": "s3://b/ä.png",
                    "Patch": {"Left": 10, "Top": 0, "Width": 10, "Height": 10},
                },
            }
        ]
    }


def test_explanation_puts_the_threshold_at_128() -> None:
    body = json.loads(result(inspection(None), 2, 2, None, explain_threshold=2.0))
    assert list(body) == ["DetectAnomalyResult", "Explanation"]
    grey = image(body["Explanation"]["AnomalyMap"])
    assert grey.mode == "L"
    assert np.asarray(grey).tolist() == [[0, 64], [128, 255]]
