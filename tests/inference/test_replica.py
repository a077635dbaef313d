"""What a replica refuses to serve, and why."""

import re
from collections.abc import Callable
from dataclasses import asdict

import pytest

from gpu.artefact import FORMAT_VERSION
from inference.place import Place
from inference.replica import UnusableModel, load_engine
from storage.objects import OWN_BUCKET
from storage.records import ModelStatus
from tests.trainer.plant import Plant


def another_digest(data: bytes) -> bytes:
    return re.sub(rb'(digest\\":\\")[0-9a-f]{64}', rb"\g<1>" + b"0" * 64, data)


def another_format(data: bytes) -> bytes:
    return data.replace(b'format_version\\":%d' % FORMAT_VERSION, b'format_version\\":7')


def other_scores(data: bytes) -> bytes:
    return re.sub(rb'(scores\\":\[)\d', rb"\g<1>9", data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (another_digest, "backbone weights 000"),
        (another_format, "format version 7"),
        (other_scores, "Reference image 1 scored 9"),
        (lambda _: b"rubbish", "not a Vigil model artefact"),
        (lambda data: data[:-100], "damaged"),
    ],
)
def test_artefact_that_is_not_served(
    plant: Plant, trained: dict[bool, bytes], change: Callable[[bytes], bytes], reason: str
) -> None:
    changed = change(trained[True])
    assert changed != trained[True]
    model, _ = plant.create_model([])
    stored = plant.stores.objects.put(OWN_BUCKET, "detector", changed)
    plant.stores.catalogue.move_model(model, ModelStatus.TRAINED, "…", artefact=asdict(stored))
    with pytest.raises(UnusableModel, match=reason):
        load_engine(plant.stores, plant.model(), 0, threads=1)


def test_missing_artefact(plant: Plant, trained: dict[bool, bytes]) -> None:
    model, _ = plant.create_model([])
    stored = plant.stores.objects.put(OWN_BUCKET, "detector", trained[False])
    plant.stores.objects.delete(OWN_BUCKET, "detector")
    plant.stores.catalogue.move_model(model, ModelStatus.TRAINED, "…", artefact=asdict(stored))
    with pytest.raises(UnusableModel, match="does not exist"):
        load_engine(plant.stores, plant.model(), 0, threads=1)


def test_place_survives_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("press", 3, 1, "host-1", "9f0c", 4)
    monkeypatch.setattr("sys.argv", ["replica", *place.arguments()])
    assert Place.parse() == place
    assert place.holds("press", 3, 1)
    assert not place.holds("press", 3, 0)
