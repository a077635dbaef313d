"""References to objects, and the keys that the service gives to its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ObjectError
from storage.objects import artefact_key, evaluation_key, parse_s3
from storage.settings import Settings
from storage.stores import open_objects


@pytest.mark.parametrize(
    "reference",
    ["", "s3://", "s3://b", "s3://b/", "s3:///k", "S3://b/k", "http://b/k", "b/k", "/b/k", "s3:/b/k", " s3://b/k"],
)
def test_what_is_no_s3_reference_is_refused(reference: str) -> None:
    with pytest.raises(ObjectError, match="s3://BUCKET/KEY"):
        parse_s3(reference)


@pytest.mark.parametrize("key", ["a\0b", "\ud800", "a\udfff.png"])
def test_a_reference_that_no_store_can_hold_is_refused(key: str) -> None:
    with pytest.raises(ObjectError, match="s3://BUCKET/KEY"):
        parse_s3(f"s3://plant/{key}")


@given(
    st.from_regex(r"[0-9A-Za-z][0-9A-Za-z.\-_]{2,62}", fullmatch=True),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
)
def test_a_reference_is_a_bucket_and_whatever_follows(bucket: str, key: str) -> None:
    assert parse_s3(f"s3://{bucket}/{key}") == (bucket, key)


def test_the_names_of_evaluation_files_are_the_prefix_as_it_is(settings: Settings) -> None:
    assert evaluation_key("out/", "Manifest", "p", 1) == "out/EvaluationManifest-p-1.json"
    assert evaluation_key("k_fold_", "Result", "p_0", 12) == "k_fold_EvaluationResult-p_0-12.json"
    assert evaluation_key("", "Result", "p", 1) == evaluation_key(None, "Result", "p", 1) == "EvaluationResult-p-1.json"
    longest = artefact_key("p" * 255, 10**9, "0" * 36, 10**6)
    assert open_objects(settings).put("vigil", longest, b"x").key == longest
