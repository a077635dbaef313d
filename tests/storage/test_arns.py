import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import Arns

ARNS = Arns("eu-west-1", "123456789012")


@given(st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_\-]{0,254}", fullmatch=True), st.integers(1, 9_999_999_999))
def test_a_models_arn_is_read_back(project: str, version: int) -> None:
    arn = ARNS.model(project, version)
    assert arn == f"arn:aws:lookoutvision:eu-west-1:123456789012:model/{project}/{version}"
    assert Arns("us-east-1", "000000000000").parse_model(arn) == (project, version)


@given(st.text(max_size=80) | st.text("arn:awslokutvisme/1p-", max_size=80))
def test_any_other_text_names_no_model_or_one_that_can_be_written(text: str) -> None:
    found = ARNS.parse_model(text)
    if found is not None:
        assert text.endswith(f":model/{found[0]}/{found[1]}")


@pytest.mark.parametrize("version", ["", "0", "01", "-1", "1 ", "1/2", "latest", "٣", "1" * 11])
def test_what_is_no_version_names_no_model(version: str) -> None:
    assert ARNS.parse_model(f"arn:aws:lookoutvision:us-east-1:123456789012:model/p/{version}") is None


def test_a_project_has_an_arn_but_is_no_model() -> None:
    assert ARNS.project("p") == "arn:aws:lookoutvision:eu-west-1:123456789012:project/p"
    assert ARNS.parse_model(ARNS.project("p")) is None
