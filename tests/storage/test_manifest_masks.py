import json
from typing import Any

import pytest

from storage.errors import ManifestError
from storage.manifest import Mask, parse_line, parse_manifest
from tests.storage.lines import changed, manifest, segmented, without

META = "anomaly-mask-ref-metadata"
MAP = "internal-color-map"
GOOD = segmented({"BACKGROUND": "#ffffff", "scratch": "#2ca02c"})


def mask(line: dict[str, Any]) -> Mask | None:
    return parse_line(json.dumps(line)).mask


def test_a_mask_is_a_place_and_what_its_colours_mean() -> None:
    line = segmented({"BACKGROUND": "#ffffff", "scratch": "#2ca02c", "dent": "#1f77b4"})
    assert mask(line) == Mask("s3://plant/masks/a.png", {"scratch": "#2ca02c", "dent": "#1f77b4"})
    [entry] = parse_manifest(manifest(line))
    assert (entry.has_mask, entry.label) == (True, "anomaly")


def test_a_colour_map_needs_no_background_and_keeps_the_case_of_its_colours() -> None:
    """AWS's own sample has only its anomaly, under number 0 and in capitals."""
    assert mask(segmented({"cracked": "#23A436"})) == Mask("s3://plant/masks/a.png", {"cracked": "#23A436"})


@pytest.mark.parametrize("name", ["BACKGROUND", "background", "Background"])
@pytest.mark.parametrize("colour", ["#ffffff", "#FFFFFF", "#000000"])
def test_the_background_is_no_label_whatever_its_colour(name: str, colour: str) -> None:
    assert mask(segmented({name: colour, "dent": "#1f77b4"})) == Mask("s3://plant/masks/a.png", {"dent": "#1f77b4"})


def test_the_mask_may_have_any_name_that_ends_in_ref() -> None:
    line = without(without(GOOD, "anomaly-mask-ref"), META)
    renamed = line | {"ü-ref": GOOD["anomaly-mask-ref"], "ü-ref-metadata": GOOD[META]}
    assert mask(renamed) == mask(GOOD)
    assert mask(dict(reversed(renamed.items()))) == mask(GOOD)


def test_confidences_dates_and_job_names_are_passed_over() -> None:
    line = changed(GOOD, 0.0, META, MAP, "1", "confidence")
    line = changed(line, "labeling-job/x", META, "job-name")
    assert mask(changed(line, "2021-11-23T20:31:57.758889", META, "creation-date")) == mask(GOOD)


def test_an_image_without_mask_has_none() -> None:
    assert mask(without(without(GOOD, META), "anomaly-mask-ref")) is None


def labels(count: int) -> dict[str, str]:
    return {f"label{n}": f"#0000{n:02x}" for n in range(count)}


def test_a_mask_has_at_most_20_labels() -> None:
    found = mask(segmented({"BACKGROUND": "#ffffff"} | labels(20)))
    assert found is not None
    assert len(found.colours) == 20
    with pytest.raises(ManifestError, match="21 anomaly labels in one mask; at most 20"):
        mask(segmented(labels(21)))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (without(GOOD, "anomaly-mask-ref"), "has no 'anomaly-mask-ref' that names an image"),
        (changed(GOOD, "mask.png", "anomaly-mask-ref"), "'mask.png', which is not of the form s3://BUCKET/KEY"),
        (changed(GOOD, "s3://other/m.png", "anomaly-mask-ref"), "mask in bucket 'other'.*bucket of the image"),
        (without(GOOD, META, "human-annotated"), 'without "human-annotated"'),
        (without(GOOD, META, MAP), "without an 'internal-color-map'"),
        (changed(GOOD, [], META, MAP), "without an 'internal-color-map'"),
        (changed(GOOD, {"0": "scratch"}, META, MAP), "without an 'internal-color-map'"),
        (without(GOOD, META, MAP, "1", "class-name"), "without a 'class-name'"),
        (changed(GOOD, None, META, MAP, "1", "class-name"), "without a 'class-name'"),
        (without(GOOD, META, MAP, "1", "hex-color"), "hex-color None for 'scratch'"),
        (changed(GOOD, "red", META, MAP, "1", "hex-color"), "hex-color 'red' for 'scratch'"),
        (changed(GOOD, "#12345", META, MAP, "1", "hex-color"), "'#' and six digits"),
        (changed(GOOD, "#1234567", META, MAP, "1", "hex-color"), "'#' and six digits"),
        (changed(GOOD, "#gggggg", META, MAP, "1", "hex-color"), "'#' and six digits"),
        (changed(GOOD, "#12345\n", META, MAP, "1", "hex-color"), "'#' and six digits"),
        (changed(GOOD, 0x2CA02C, META, MAP, "1", "hex-color"), "'#' and six digits"),
        (changed(GOOD, "two words", META, MAP, "1", "class-name"), "'two words'; 1 to 256 letters and digits"),
        (changed(GOOD, "", META, MAP, "1", "class-name"), "1 to 256 letters and digits"),
        (changed(GOOD, "x" * 257, META, MAP, "1", "class-name"), "1 to 256 letters and digits"),
        (changed(GOOD, "dent\n", META, MAP, "1", "class-name"), "1 to 256 letters and digits"),
        (segmented({"dent": "#1f77b4", "scratch": "#1F77B4"}), "the colour #1F77B4 for two anomaly labels"),
        (GOOD | {"b-ref": GOOD["anomaly-mask-ref"], "b-ref-metadata": GOOD[META]}, "has 2 masks .*one is allowed"),
        (
            without(GOOD, META) | {"mask": "s3://plant/m.png", "mask-metadata": GOOD[META]},
            "must end in '-ref-metadata'",
        ),
    ],
)
def test_what_is_wrong_with_a_mask_is_told_with_its_line(line: dict[str, Any], reason: str) -> None:
    with pytest.raises(ManifestError, match=rf"^line 2 .*{reason}"):
        parse_manifest(manifest(segmented({"dent": "#1f77b4"}, "b.png"), line))


def test_a_label_comes_once_in_a_colour_map() -> None:
    twice = {"0": {"class-name": "dent", "hex-color": "#000001"}, "1": {"class-name": "dent", "hex-color": "#000002"}}
    with pytest.raises(ManifestError, match="'dent' twice"):
        mask(changed(GOOD, twice, META, MAP))


@pytest.mark.parametrize("colour", ["#ffffff", "#FFFFFF"])
def test_a_label_cannot_have_the_colour_of_the_background(colour: str) -> None:
    with pytest.raises(ManifestError, match="the colour"):
        mask(segmented({"BACKGROUND": "#ffffff", "dent": colour}))
    with pytest.raises(ManifestError, match="the colour"):
        mask(segmented({"dent": colour, "BACKGROUND": "#ffffff"}))
