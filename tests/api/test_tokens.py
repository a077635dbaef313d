"""Client tokens: a repeated call has one effect and one answer."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from storage import schema
from storage.records import ModelStatus, now
from storage.stores import Stores
from tests.api import arrange
from tests.api.refusals import assert_refused

OUT = {"S3Location": {"Bucket": "out"}}
LINE = arrange.line("a.png").encode()


def body(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def expire(stores: Stores, token: str) -> None:
    """Let the eight hours of a token be over."""
    over = schema.client_token.update().where(schema.client_token.c.token == token)
    with stores.database.transaction() as connection:
        changed = connection.execute(over.values(expires=now() - timedelta(seconds=1)))
    assert changed.rowcount == 1


def create_project(lookout: Any, name: str, **more: Any) -> Any:
    return lookout.create_project(ProjectName=f"{name}-new", **more)


def create_dataset(lookout: Any, name: str, **more: Any) -> Any:
    return lookout.create_dataset(ProjectName=name, DatasetType="test", **more)


def delete_dataset(lookout: Any, name: str, **more: Any) -> Any:
    return lookout.delete_dataset(ProjectName=name, DatasetType="train", **more)


def update_entries(lookout: Any, name: str, **more: Any) -> Any:
    return lookout.update_dataset_entries(ProjectName=name, DatasetType="train", Changes=LINE, **more)


def create_model(lookout: Any, name: str, **more: Any) -> Any:
    return lookout.create_model(ProjectName=name, OutputConfig=OUT, **more)


def delete_model(lookout: Any, name: str, **more: Any) -> Any:
    return lookout.delete_model(ProjectName=name, ModelVersion="1", **more)


def start_model(lookout: Any, name: str, **more: Any) -> Any:
    return lookout.start_model(ProjectName=name, ModelVersion="1", MinInferenceUnits=1, **more)


def stop_model(lookout: Any, name: str, **more: Any) -> Any:
    return lookout.stop_model(ProjectName=name, ModelVersion="2", **more)


CALLS = [
    create_project,
    create_dataset,
    delete_dataset,
    update_entries,
    create_model,
    delete_model,
    start_model,
    stop_model,
]


@pytest.fixture
def plant(stores: Stores, project: str) -> str:
    """A project on which every call with a token succeeds once: version 1 is trained, version 2 hosted."""
    arrange.trainable(stores, project)
    arrange.model(stores, project)
    arrange.model(stores, project, ModelStatus.HOSTED)
    return project


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_the_same_token_has_one_effect_and_the_same_answer(
    lookout: Any, stores: Stores, plant: str, call: Callable[..., Any]
) -> None:
    token = f"t-{plant}"
    first = call(lookout, plant, ClientToken=token)
    before = stores.jobs.waiting("short"), stores.jobs.waiting("training"), stores.catalogue.models(plant)
    again = call(lookout, plant, ClientToken=token)
    assert body(again) == body(first)
    assert again["ResponseMetadata"]["HTTPStatusCode"] == first["ResponseMetadata"]["HTTPStatusCode"]
    assert (stores.jobs.waiting("short"), stores.jobs.waiting("training"), stores.catalogue.models(plant)) == before


def test_delete_project_with_the_same_token_has_one_effect(lookout: Any, project: str) -> None:
    first = lookout.delete_project(ProjectName=project, ClientToken="t")
    assert body(lookout.delete_project(ProjectName=project, ClientToken="t")) == body(first)
    with assert_refused("ResourceNotFoundException"):
        lookout.delete_project(ProjectName=project, ClientToken="u")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_a_new_token_is_a_new_call(lookout: Any, plant: str, call: Callable[..., Any]) -> None:
    first = call(lookout, plant, ClientToken=f"a-{plant}")
    if call is create_model:
        assert call(lookout, plant, ClientToken=f"b-{plant}") != first
    elif call is delete_dataset:
        with assert_refused("ResourceNotFoundException"):
            call(lookout, plant, ClientToken=f"b-{plant}")
    else:
        with assert_refused("ConflictException"):
            call(lookout, plant, ClientToken=f"b-{plant}")


def test_an_operation_may_use_the_token_of_another(lookout: Any, plant: str) -> None:
    token = f"t-{plant}"
    for call in (create_project, create_dataset, update_entries, start_model, stop_model, delete_dataset):
        call(lookout, plant, ClientToken=token)
    found = lookout.describe_project(ProjectName=plant)["ProjectDescription"]["Datasets"]
    assert [dataset["DatasetType"] for dataset in found] == ["test"]


def test_a_token_with_other_parameters_is_refused(lookout: Any, stores: Stores, plant: str) -> None:
    token = f"t-{plant}"
    pairs: list[tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = [
        (lookout.create_project, {"ProjectName": f"{plant}-a"}, {"ProjectName": f"{plant}-b"}),
        (
            lookout.create_dataset,
            {"ProjectName": f"{plant}-a", "DatasetType": "train"},
            {"ProjectName": f"{plant}-a", "DatasetType": "test"},
        ),
        (
            lookout.create_model,
            {"ProjectName": plant, "OutputConfig": OUT},
            {"ProjectName": plant, "OutputConfig": OUT, "Tags": [{"Key": "a", "Value": "b"}]},
        ),
        (
            lookout.update_dataset_entries,
            {"ProjectName": plant, "DatasetType": "train", "Changes": LINE},
            {"ProjectName": plant, "DatasetType": "train", "Changes": LINE + b"\n"},
        ),
        (
            lookout.start_model,
            {"ProjectName": plant, "ModelVersion": "1", "MinInferenceUnits": 1},
            {"ProjectName": plant, "ModelVersion": "1", "MinInferenceUnits": 2},
        ),
        (
            lookout.stop_model,
            {"ProjectName": plant, "ModelVersion": "2"},
            {"ProjectName": plant, "ModelVersion": "1"},
        ),
        (
            lookout.delete_dataset,
            {"ProjectName": plant, "DatasetType": "train"},
            {"ProjectName": f"{plant}-a", "DatasetType": "train"},
        ),
    ]
    for call, first, other in pairs:
        call(**first, ClientToken=token)
        models = stores.catalogue.models(plant)
        with assert_refused("ValidationException", f"'{token}' was used"):
            call(**other, ClientToken=token)
        assert stores.catalogue.models(plant) == models
    names = [p.name for p in stores.catalogue.projects() if p.name.startswith(plant)]
    assert names == [plant, f"{plant}-a"]


def test_a_call_that_was_refused_does_not_use_up_its_token(lookout: Any, stores: Stores, project: str) -> None:
    token = f"t-{project}"
    with assert_refused("ConflictException"):
        create_model(lookout, project, ClientToken=token)
    arrange.trainable(stores, project)
    assert create_model(lookout, project, ClientToken=token)["ModelMetadata"]["ModelVersion"] == "1"


def test_an_expired_token_is_forgotten(lookout: Any, stores: Stores, plant: str) -> None:
    token = f"t-{plant}"
    first = create_model(lookout, plant, ClientToken=token)
    expire(stores, token)
    again = create_model(lookout, plant, ClientToken=token)
    assert int(again["ModelMetadata"]["ModelVersion"]) == int(first["ModelMetadata"]["ModelVersion"]) + 1
    expire(stores, token)
    create_project(lookout, plant, ClientToken=f"other-{plant}")
    count = schema.client_token.select().where(schema.client_token.c.token == token)
    with stores.database.reading() as connection:
        assert connection.execute(count).all() == [], "rows of expired tokens are removed"


def test_state_wins_over_memory_for_start_and_stop(lookout: Any, stores: Stores, project: str) -> None:
    """A scheduler that sends one literal token for every StartModel and StopModel gets what it asks for."""
    arrange.model(stores, project)
    for _ in range(3):
        start_model(lookout, project, ClientToken="RunOnce")
        assert stores.catalogue.model(project, 1).status == "STARTING_HOSTING"
        assert start_model(lookout, project, ClientToken="RunOnce")["Status"] == "STARTING_HOSTING"
        answer = lookout.stop_model(ProjectName=project, ModelVersion="1", ClientToken="RunOnce")
        assert answer["Status"] == "STOPPING_HOSTING"
        assert stores.catalogue.model(project, 1).status == "STOPPING_HOSTING"
        assert body(lookout.stop_model(ProjectName=project, ModelVersion="1", ClientToken="RunOnce")) == body(answer)
        with pytest.raises(lookout.exceptions.ConflictException):
            start_model(lookout, project, ClientToken="RunOnce")
        stores.hosting.clear()
        assert stores.catalogue.model(project, 1).status == "TRAINED"
