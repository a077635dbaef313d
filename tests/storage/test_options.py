import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.options import BACKBONES, DETECTORS, PREFIX, TAGS, TrainingOptions, parse_options


def test_the_defaults() -> None:
    assert parse_options({}) == TrainingOptions("auto", "auto", None, 0.02, None, 0)
    assert parse_options({"line": "3", "vigilant": "yes"}) == TrainingOptions()


@given(
    st.sampled_from(DETECTORS),
    st.sampled_from(BACKBONES),
    st.integers(64, 1024),
    st.floats(0.0001, 1),
    st.floats(0.1, 500),
    st.integers(0, 2**31 - 1),
)
def test_every_good_choice_is_read(
    detector: str, backbone: str, size: int, ratio: float, alarms: float, seed: int
) -> None:
    given_ = (detector, backbone, str(size), repr(ratio), repr(alarms), str(seed))
    assert parse_options(dict(zip(TAGS, given_, strict=True))) == TrainingOptions(
        detector, backbone, size, ratio, alarms, seed
    )


def read(values: dict[str, str]) -> TrainingOptions | str:
    """The options, or why they are refused."""
    try:
        return parse_options(values)
    except ValueError as error:
        return str(error)


@given(st.sampled_from(TAGS), st.text(max_size=30))
def test_any_value_is_read_or_refused_with_the_name_of_the_tag(tag: str, value: str) -> None:
    found = read({tag: value})
    if isinstance(found, str):
        assert f"'{tag}'" in found
        assert "allowed" in found
    else:
        assert found.image_size is None or 64 <= found.image_size <= 1024
        assert 0.0001 <= found.coreset_ratio <= 1
        assert found.max_false_alarms is None or 0.1 <= found.max_false_alarms <= 500
        assert 0 <= found.seed < 2**31
        assert found.detector in DETECTORS
        assert found.backbone in BACKBONES


@given(st.text(max_size=30).filter(lambda name: PREFIX + name not in TAGS))
def test_an_unknown_tag_of_ours_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(ValueError, match="vigil:detector, vigil:backbone"):
        parse_options({PREFIX + name: "x"})


@pytest.mark.parametrize("tag", ["vigil:seed", "vigil:image-size"])
def test_a_number_beyond_all_bounds_is_refused_like_any_other(tag: str) -> None:
    for value in ("9" * 400, "9" * 5000, "-" + "9" * 400):
        with pytest.raises(ValueError, match="allowed is a whole number"):
            parse_options({tag: value})
