from collections.abc import Callable, Iterator
from typing import Any

import pytest

from storage.stores import Stores
from tests.api import arrange
from tests.api.refusals import assert_refused

COUNT = 7


@pytest.fixture(scope="module")
def plant(lookout: Any, stores: Stores) -> str:
    """A project with entries and models."""
    lookout.create_project(ProjectName="paging")
    lookout.create_dataset(ProjectName="paging", DatasetType="train")
    arrange.fill(stores, "paging", [arrange.entry(f"{n}.png") for n in range(COUNT)])
    for _ in range(COUNT):
        arrange.model(stores, "paging")
    return "paging"


def pages(lookout: Any, operation: str, size: int, **parameters: Any) -> Iterator[Any]:
    paginator = lookout.get_paginator(operation)
    yield from paginator.paginate(**parameters, PaginationConfig={"PageSize": size})


@pytest.mark.parametrize("size", [1, 2, COUNT - 1, COUNT, 100])
def test_pages_of_entries_hold_every_entry_once_in_order(lookout: Any, stores: Stores, plant: str, size: int) -> None:
    found = list(pages(lookout, "list_dataset_entries", size, ProjectName=plant, DatasetType="train"))
    assert all(len(page["DatasetEntries"]) == size for page in found[:-1])
    assert "NextToken" not in found[-1]
    dataset = stores.catalogue.dataset(plant, "train")
    lines = [entry.line for _, entry in stores.catalogue.entries(dataset)]
    assert [line for page in found for line in page["DatasetEntries"]] == lines


@pytest.mark.parametrize("size", [1, 2, COUNT, 100])
def test_pages_of_models_hold_every_model_once_newest_first(lookout: Any, plant: str, size: int) -> None:
    found = list(pages(lookout, "list_models", size, ProjectName=plant))
    assert len(found) == -(-COUNT // size)
    versions = [model["ModelVersion"] for page in found for model in page["Models"]]
    assert versions == [str(n) for n in range(COUNT, 0, -1)]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_of_projects_hold_every_project_once_by_name(fresh: Any, size: int) -> None:
    service = fresh()
    names = ["A", "B", "a", "a-1", "a_1", "b", "b" * 255]
    for name in reversed(names):
        service.stores.catalogue.create_project(name)
    found = list(pages(service.lookout, "list_projects", size))
    assert [project["ProjectName"] for page in found for project in page["Projects"]] == sorted(names)
    assert [len(page["Projects"]) for page in found[:-1]] == [size] * (len(found) - 1)
    assert found[-1]["Projects"], "no page is empty"


def test_a_list_without_anything_has_its_member_and_no_token(fresh: Any) -> None:
    service = fresh()
    answer = service.lookout.list_projects()
    assert (answer["Projects"], "NextToken" in answer) == ([], False)
    service.lookout.create_project(ProjectName="p")
    assert service.lookout.list_models(ProjectName="p")["Models"] == []
    service.lookout.create_dataset(ProjectName="p", DatasetType="train")
    assert service.lookout.list_dataset_entries(ProjectName="p", DatasetType="train")["DatasetEntries"] == []


def test_a_page_has_100_members_unless_less_is_asked_for(fresh: Any) -> None:
    service = fresh()
    with service.stores.database.transaction():
        for n in range(101):
            service.stores.catalogue.create_project(f"p{n:03}")
    answer = service.lookout.list_projects()
    assert len(answer["Projects"]) == 100
    rest = service.lookout.list_projects(NextToken=answer["NextToken"])
    assert [project["ProjectName"] for project in rest["Projects"]] == ["p100"]
    assert "NextToken" not in rest


def test_pages_are_stable_while_others_add_and_remove(fresh: Any) -> None:
    service = fresh()
    lookout, stores = service.lookout, service.stores
    for name in ("b", "d", "f"):
        lookout.create_project(ProjectName=name)
    lookout.create_dataset(ProjectName="b", DatasetType="train")
    arrange.fill(stores, "b", [arrange.entry(f"{n}.png") for n in range(3)])
    for _ in range(3):
        arrange.model(stores, "b")

    def walk(operation: str, member: str, meanwhile: Callable[[int], Any], **parameters: Any) -> list[Any]:
        seen = []
        for number, page in enumerate(pages(lookout, operation, 1, **parameters)):
            seen += page[member]
            meanwhile(number)
        return seen

    projects = walk("list_projects", "Projects", lambda n: n or stores.catalogue.create_project("a"))
    assert [project["ProjectName"] for project in projects] == ["b", "d", "f"]
    models = walk("list_models", "Models", lambda n: n or arrange.model(stores, "b"), ProjectName="b")
    assert [model["ModelVersion"] for model in models] == ["3", "2", "1"]
    entries = walk(
        "list_dataset_entries",
        "DatasetEntries",
        lambda n: n or arrange.fill(stores, "b", [arrange.entry("0.png", "anomaly"), arrange.entry("new.png")]),
        ProjectName="b",
        DatasetType="train",
    )
    names = [arrange.line(name) for name in ("0.png", "1.png", "2.png", "new.png")]
    assert entries == names, "what was listed already does not come again; what was added comes at the end"


def test_filters_hold_on_every_page(lookout: Any, stores: Stores, project: str) -> None:
    lookout.create_dataset(ProjectName=project, DatasetType="train")
    labels = ["normal", "anomaly", None] * 4
    arrange.fill(stores, project, [arrange.entry(f"{n}.png", label) for n, label in enumerate(labels)])
    found = list(
        pages(lookout, "list_dataset_entries", 3, ProjectName=project, DatasetType="train", AnomalyClass="anomaly")
    )
    assert [len(page["DatasetEntries"]) for page in found] == [3, 1]
    assert all('"class-name": "anomaly"' in line for page in found for line in page["DatasetEntries"])


def test_a_token_of_another_list_or_none_at_all_is_refused(lookout: Any, plant: str) -> None:
    token = lookout.list_models(ProjectName=plant, MaxResults=1)["NextToken"]
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=")
    for wrong in ("####", "a", "cGFnaW5n", token + "=", "=" + token):
        with assert_refused("ValidationException", "nextToken"):
            lookout.list_models(ProjectName=plant, NextToken=wrong)
