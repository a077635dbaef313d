from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.records import ModelStatus
from storage.stores import Stores
from tests.api import arrange
from tests.api.raw import Raw
from tests.api.refusals import assert_refused

# Letters, separators and numbers of every script, and _ . : / = + - @
ALLOWED = st.characters(categories=["L", "N", "Zs"], include_characters="_.:/=+-@")
FORBIDDEN = st.characters(categories=["P", "S", "M", "Cc", "Cf"], exclude_characters="_.:/=+-@")
FEW = settings(max_examples=25)


@pytest.fixture
def arn(lookout: Any, stores: Stores, project: str) -> str:
    """The ARN of a trained model."""
    arrange.model(stores, project)
    return str(lookout.describe_model(ProjectName=project, ModelVersion="1")["ModelDescription"]["ModelArn"])


def listed(lookout: Any, arn: str) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in lookout.list_tags_for_resource(ResourceArn=arn)["Tags"]}


def tags(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


def test_tags_are_added_changed_listed_and_removed(lookout: Any, arn: str) -> None:
    answer = lookout.list_tags_for_resource(ResourceArn=arn)
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Tags"]) == (200, [])
    answer = lookout.tag_resource(ResourceArn=arn, Tags=tags({"b": "1", "a b": "", "ü": "x"}))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    lookout.tag_resource(ResourceArn=arn, Tags=tags({"b": "2"}))
    lookout.tag_resource(ResourceArn=arn, Tags=[])
    found = lookout.list_tags_for_resource(ResourceArn=arn)["Tags"]
    assert found == tags({"a b": "", "b": "2", "ü": "x"})
    answer = lookout.untag_resource(ResourceArn=arn, TagKeys=["a b", "nothing", "ü"])
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert listed(lookout, arn) == {"b": "2"}


def test_a_model_that_is_hosted_can_be_tagged(lookout: Any, stores: Stores, project: str) -> None:
    arrange.model(stores, project, ModelStatus.HOSTED)
    arn = lookout.describe_model(ProjectName=project, ModelVersion="1")["ModelDescription"]["ModelArn"]
    lookout.tag_resource(ResourceArn=arn, Tags=tags({"line": "3"}))
    assert listed(lookout, arn) == {"line": "3"}


@FEW
@given(
    st.dictionaries(st.text(ALLOWED, min_size=1, max_size=128), st.text(ALLOWED, max_size=256), min_size=1, max_size=5)
)
def test_letters_and_numbers_of_every_script_are_kept_as_they_are(lookout: Any, arn: str, values: Any) -> None:
    values = {key: value for key, value in values.items() if not key.startswith("vigil:")}
    lookout.tag_resource(ResourceArn=arn, Tags=tags(values))
    assert listed(lookout, arn) == values
    lookout.untag_resource(ResourceArn=arn, TagKeys=list(values)) if values else None
    assert listed(lookout, arn) == {}


@FEW
@given(FORBIDDEN, st.booleans())
def test_other_characters_are_refused_in_keys_and_values(lookout: Any, arn: str, character: str, in_key: bool) -> None:
    tag = {"Key": f"a{character}", "Value": "v"} if in_key else {"Key": "k", "Value": f"v{character}"}
    with assert_refused("ValidationException", r"Tags\.0\.(Key|Value) must be"):
        lookout.tag_resource(ResourceArn=arn, Tags=[tag])
    assert listed(lookout, arn) == {}


@pytest.mark.parametrize("tag", [{"Key": "k" * 129, "Value": ""}, {"Key": "k", "Value": "v" * 257}])
def test_long_keys_and_values_are_refused(lookout: Any, arn: str, tag: dict[str, str]) -> None:
    with assert_refused("ValidationException", "must be"):
        lookout.tag_resource(ResourceArn=arn, Tags=[tag])


def test_a_key_given_twice_is_refused(lookout: Any, arn: str) -> None:
    with assert_refused("ValidationException", "'a' is given twice"):
        lookout.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}])


def test_a_model_has_at_most_200_tags(lookout: Any, arn: str) -> None:
    with assert_refused("ValidationException", "Tags"):
        lookout.tag_resource(ResourceArn=arn, Tags=tags({f"k{n}": "" for n in range(201)}))
    lookout.tag_resource(ResourceArn=arn, Tags=tags({f"k{n}": "" for n in range(200)}))
    with assert_refused("ServiceQuotaExceededException", "200 tags") as error:
        lookout.tag_resource(ResourceArn=arn, Tags=tags({"one-more": ""}))
    assert (error["QuotaCode"], error["ServiceCode"]) == ("tags-per-model", "lookoutvision")
    lookout.tag_resource(ResourceArn=arn, Tags=tags({"k0": "changed"}))
    assert len(listed(lookout, arn)) == 200
    lookout.untag_resource(ResourceArn=arn, TagKeys=[f"k{n}" for n in range(200)])
    assert listed(lookout, arn) == {}


def test_tags_that_choose_the_training_cannot_be_changed_afterwards(lookout: Any, arn: str) -> None:
    for key, value in (("vigil:detector", "padim"), ("vigil:anything", "x")):
        with assert_refused("ValidationException", key):
            lookout.tag_resource(ResourceArn=arn, Tags=tags({"mine": "1", key: value}))
        with assert_refused("ValidationException", key):
            lookout.untag_resource(ResourceArn=arn, TagKeys=["mine", key])
    assert listed(lookout, arn) == {}


@pytest.mark.parametrize("safe", ["", ":", ":/"])
def test_the_arn_may_be_encoded_more_or_less(raw: Raw, arn: str, safe: str) -> None:
    path = f"/tags/{quote(arn, safe=safe)}"
    assert raw.json("POST", path, {"Tags": tags({"a b": "1", "c+d": "2"})}).status == 200
    assert raw("GET", path).json() == {"Tags": tags({"a b": "1", "c+d": "2"})}
    assert raw("DELETE", f"{path}?tagKeys=a%20b&tagKeys=c%2Bd").status == 200
    assert raw("GET", path).json() == {"Tags": []}


def test_keys_to_remove_must_be_named(raw: Raw, arn: str) -> None:
    answer = raw("DELETE", f"/tags/{quote(arn, safe='')}")
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert "tagKeys is required" in answer.json()["Message"]
    answer = raw("DELETE", f"/tags/{quote(arn, safe='')}?" + "&".join(f"tagKeys=k{n}" for n in range(201)))
    assert (answer.status, answer.error) == (400, "ValidationException")


@pytest.mark.parametrize(
    "wrong",
    [
        "x",
        "arn",
        "arn:aws:lookoutvision:us-east-1:000000000000:project/p",
        "arn:aws:s3:us-east-1:000000000000:model/p/1",
        "arn:aws:lookoutvision:us-east-1:000000000000:model/p",
        "arn:aws:lookoutvision:us-east-1:000000000000:model/p/",
        "arn:aws:lookoutvision:us-east-1:000000000000:model//1",
        "arn:aws:lookoutvision:us-east-1:000000000000:model/p/latest",
        "arn:aws:lookoutvision:us-east-1:000000000000:model/p/1/2",
        "arn:aws:lookoutvision:us-east-1:000000000000:model/p/٣",
        "arn:aws:lookoutvision:us-east-1:000000000000:model/p/0",
        "arn:aws:lookoutvision:us-east-1:000000000000:model/p/01",
        "arn:aws:lookoutvision:us-east-1:000000000000:model/p/" + "9" * 40,
        "arn:aws:lookoutvision:us-east-1:000000000000:model/" + "p" * 1011,
    ],
)
def test_what_is_no_arn_of_a_model_is_refused(lookout: Any, wrong: str) -> None:
    with assert_refused("ValidationException", "ARN of a model"):
        lookout.list_tags_for_resource(ResourceArn=wrong)
    with assert_refused("ValidationException", "ARN of a model"):
        lookout.untag_resource(ResourceArn=wrong, TagKeys=["a"])


@pytest.mark.parametrize("version", ["2", "9" * 10])
def test_a_model_that_is_not_there_is_not_found(lookout: Any, arn: str, version: str) -> None:
    other = arn.removesuffix("1") + version
    for call in (
        lambda: lookout.list_tags_for_resource(ResourceArn=other),
        lambda: lookout.tag_resource(ResourceArn=other, Tags=tags({"a": "1"})),
        lambda: lookout.untag_resource(ResourceArn=other, TagKeys=["a"]),
    ):
        with assert_refused("ResourceNotFoundException") as error:
            call()
        assert (error["ResourceId"], error["ResourceType"]) == (other, "MODEL")


def test_tags_go_with_their_model(lookout: Any, stores: Stores, arn: str, project: str) -> None:
    lookout.tag_resource(ResourceArn=arn, Tags=tags({"a": "1"}))
    lookout.delete_model(ProjectName=project, ModelVersion="1")
    stores.catalogue.delete_model(stores.catalogue.model(project, 1))
    assert stores.catalogue.tags.of(project, 1) == {}
