"""The `vigil:` tags of CreateModel."""

from typing import Any

import pytest

from storage.stores import Stores
from tests.api import arrange
from tests.api.refusals import assert_refused

OUT = {"S3Location": {"Bucket": "out"}}


@pytest.fixture
def ready(stores: Stores, project: str) -> str:
    arrange.trainable(stores, project)
    return project


def tags(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


def test_good_ones_are_kept_with_the_model_and_listed_among_its_tags(lookout: Any, stores: Stores, ready: str) -> None:
    chosen = {
        "vigil:detector": "padim",
        "vigil:backbone": "resnet18",
        "vigil:image-size": "320",
        "vigil:coreset-ratio": "0.05",
        "vigil:seed": "7",
    }
    answer = lookout.create_model(ProjectName=ready, OutputConfig=OUT, Tags=tags({"line": "3"} | chosen))
    listed = lookout.list_tags_for_resource(ResourceArn=answer["ModelMetadata"]["ModelArn"])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in listed} == {"line": "3"} | chosen
    assert stores.catalogue.model(ready, 1).options == chosen


@pytest.mark.parametrize(
    ("tag", "value", "allowed"),
    [
        ("vigil:detector", "PatchCore", "patchcore, padim"),
        ("vigil:detector", "", "patchcore, padim"),
        ("vigil:backbone", "resnet101", "auto, vigil-s, vigil-m, resnet18, resnet34, resnet50, wide_resnet50_2"),
        ("vigil:image-size", "63", "whole number from 64 to 1024"),
        ("vigil:image-size", "1025", "whole number from 64 to 1024"),
        ("vigil:image-size", "256.5", "whole number from 64 to 1024"),
        ("vigil:coreset-ratio", "0", "number from 0.0001 to 1"),
        ("vigil:coreset-ratio", "1.01", "number from 0.0001 to 1"),
        ("vigil:coreset-ratio", "nan", "number from 0.0001 to 1"),
        ("vigil:max-false-alarms", "0", "number from 0.1 to 500"),
        ("vigil:max-false-alarms", "few", "number from 0.1 to 500"),
        ("vigil:seed", "-1", "whole number from 0 to 2147483647"),
        ("vigil:seed", "9" * 256, "whole number from 0 to 2147483647"),
        ("vigil:speed", "fast", "vigil:coreset-ratio, vigil:max-false-alarms, vigil:seed"),
        ("vigil:", "x", "vigil:detector"),
    ],
)
def test_bad_ones_are_refused_with_what_is_allowed(
    lookout: Any, ready: str, tag: str, value: str, allowed: str
) -> None:
    with assert_refused("ValidationException", f"'{tag}'.*{allowed}"):
        lookout.create_model(ProjectName=ready, OutputConfig=OUT, Tags=tags({tag: value}))
    assert lookout.list_models(ProjectName=ready)["Models"] == []
