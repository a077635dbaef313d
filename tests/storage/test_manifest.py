import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ManifestError
from storage.manifest import (
    LONGEST_LINE,
    Mask,
    bucket_of,
    check_bucket,
    label_line,
    parse_line,
    parse_manifest,
    write_manifest,
)
from tests.storage.lines import changed, classified, manifest, without

TEMPLATE = Path(__file__).parents[2].parent / "shared" / "data" / "cookie" / "template.manifest"
META = "anomaly-label-metadata"


def label(line: dict[str, Any]) -> str | None:
    return parse_line(json.dumps(line)).label


@pytest.mark.parametrize("name", ["normal", "anomaly", "Anomaly", "NORMAL"])
def test_the_class_name_is_the_label_in_whatever_case(name: str) -> None:
    assert label(classified(label=name)) == name.lower()


@pytest.mark.parametrize("value", [0, 1, "0", "1", 1.0, -5, None, True, [], {}, "anomaly"])
@pytest.mark.parametrize("name", ["normal", "anomaly"])
def test_the_labels_own_value_is_ignored(value: Any, name: str) -> None:
    """Numbers mean one thing in one of AWS's scripts and the other in another, and a third writes strings."""
    assert label(classified(label=name) | {"anomaly-label": value}) == name


@pytest.mark.parametrize("name", ["good", "", "normal ", "anomalous", "中", "normal\n"])
def test_another_class_name_makes_an_image_without_label(name: str) -> None:
    assert label(classified(label=name)) is None


def test_an_image_without_label_is_one() -> None:
    assert label({"source-ref": "s3://plant/a.png"}) is None
    assert label({"source-ref": "s3://plant/a.png", "source-ref-metadata": {"creation-date": "2024"}}) is None


@pytest.mark.parametrize("name", ["auto-label", "anomaly-label", "x", "ü b", "label-ref", "-metadata"])
def test_the_label_may_have_any_name(name: str) -> None:
    line = classified(label="anomaly")
    renamed = {"source-ref": line["source-ref"], name: 0, f"{name}-metadata": line[META]}
    assert label(renamed) == "anomaly"
    assert label(dict(reversed(renamed.items()))) == "anomaly"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"confidence": 1},
        {"confidence": 0.5, "job-name": "labeling-job/auto-label"},
        {"creation-date": "2020-11-10T03:37:09.600"},
        {"creation-date": "2021-11-23T20:31:57.758889"},
        {"creation-date": "2020-05-22T21:33:37Z"},
        {"creation-date": "Mon Aug 22 2022 13:52:52 GMT-0700 (Pacific Daylight Time)"},
        {"human-annotated": "no"},
        {"something": {"else": [1]}},
    ],
)
def test_what_a_label_may_carry_besides(more: dict[str, Any]) -> None:
    line = classified(label="anomaly")
    assert label(line | {META: line[META] | more}) == "anomaly"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({}, "has no 'source-ref' that names an image as s3://BUCKET/KEY"),
        (classified() | {"source-ref": None}, "has no 'source-ref'"),
        (classified() | {"source-ref": ["s3://plant/a"]}, "has no 'source-ref'"),
        (classified() | {"source-ref": "https://plant/a.png"}, "'https://plant/a.png', which is not of the form"),
        (classified() | {"source-ref": "plant/a.png"}, "not of the form s3://BUCKET/KEY"),
        (classified() | {"source-ref": "s3://plant"}, "not of the form"),
        (classified() | {"source-ref": "s3://plant/"}, "not of the form"),
        (classified() | {"source-ref": "s3:///a.png"}, "not of the form"),
        (classified() | {"source-ref": "s3://plant/a\0.png"}, "not of the form"),
        (classified() | {"source-ref": "s3://plant/\ud800.png"}, "not of the form"),
        (without(classified(), "anomaly-label"), "has 'anomaly-label-metadata' but no 'anomaly-label'"),
        (without(classified(), META, "type"), 'without "type": "groundtruth/image-classification"'),
        (changed(classified(), "groundtruth/object-detection", META, "type"), 'without "type"'),
        (without(classified(), META, "class-name"), "without a 'class-name'"),
        (changed(classified(), 1, META, "class-name"), "without a 'class-name'"),
        (without(classified(), META, "human-annotated"), 'without "human-annotated": "yes" or "no"'),
        (changed(classified(), True, META, "human-annotated"), 'without "human-annotated"'),
        (classified() | {"b": 1, "b-metadata": classified()[META]}, "has 2 labels .*one is allowed"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_with_its_number(line: dict[str, Any], reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        parse_line(json.dumps(line))
    with pytest.raises(ManifestError, match=rf"^line 3 .*{reason}"):
        parse_manifest(manifest(classified("1.png")) + b"\r\n" + manifest(line))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "is not JSON"),
        ("{", "is not JSON"),
        ('{"source-ref": "s3://plant/a.png"} {}', "is not JSON"),
        ("{'source-ref': 's3://plant/a.png'}", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("null", "is not a JSON object"),
        ('"s3://plant/a.png"', "is not a JSON object"),
        ("5", "is not a JSON object"),
        ("[" * 8000, "is not JSON"),
        ('{"a":' * 1500, "is not JSON"),
        ('{"a":' + "9" * 5000 + "}", "is not JSON"),
    ],
)
def test_what_is_no_json_object_is_told_with_its_number(text: str, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        parse_line(text)
    with pytest.raises(ManifestError, match=rf"^line 2 .*{reason}"):
        parse_manifest(manifest(classified("1.png")) + text.encode())


def test_a_line_has_at_most_8192_characters() -> None:
    fits = json.dumps({"source-ref": "s3://plant/a.png", "pad": "ü"}, ensure_ascii=False)
    fits = fits.replace("ü", "ü" * (LONGEST_LINE - len(fits) + 1))
    assert len(fits) == 8192
    assert len(parse_manifest(fits.encode())) == 1, "characters are counted, not bytes"
    with pytest.raises(ManifestError, match=r"^line 1 has 8,193 characters; at most 8,192 are allowed"):
        parse_manifest(fits.replace("ü", "üü", 1).encode())


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b"\r\n \t\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\n", b"\xef\xbb\xbf\r\n"])
def test_line_ends_empty_lines_and_a_byte_order_mark_are_passed_over(start: bytes, end: bytes) -> None:
    lines = [json.dumps(classified(f"{n}.png")) for n in range(3)]
    entries = parse_manifest(start + end.join(line.encode() for line in lines))
    assert [entry.line for entry in entries] == lines
    assert parse_manifest(start + end.join(line.encode() for line in lines) + end) is not None


def test_nothing_is_no_entry() -> None:
    assert parse_manifest(b"") == parse_manifest(b"\n \r\n\t\n") == []


@pytest.mark.parametrize("bad", [b"\xff", b"\xfe\xff\x00{", "ü".encode("latin-1"), b"\xed\xa0\x80"])
def test_what_is_not_utf_8_is_told_with_its_line(bad: bytes) -> None:
    with pytest.raises(ManifestError, match=r"^line 3 is not UTF-8"):
        parse_manifest(manifest(classified("1.png"), classified("2.png")) + b'{"source-ref": "' + bad + b'"}\n')


def test_the_line_numbers_count_empty_lines() -> None:
    with pytest.raises(ManifestError, match=r"^line 5 "):
        parse_manifest(b"\n\n" + manifest(classified()) + b"\nnonsense\n")


def test_all_images_lie_in_one_bucket() -> None:
    with pytest.raises(ManifestError, match=r"^line 3 names bucket 'other', the lines before it bucket 'plant'"):
        parse_manifest(manifest(classified("1"), classified("2"), classified("3", bucket="other")))
    entries = parse_manifest(manifest(classified("1"), classified("2")))
    assert {bucket_of(entry) for entry in entries} == {"plant"}
    check_bucket(entries, "plant")
    check_bucket(entries, None)
    with pytest.raises(ManifestError, match="s3://plant/1 is not in bucket 'other'"):
        check_bucket(entries, "other")


def test_a_source_ref_may_come_again_with_the_same_label_and_the_last_line_counts() -> None:
    again = classified("1", "anomaly") | {"note": "second"}
    entries = parse_manifest(manifest(classified("1", "anomaly"), classified("2"), again))
    assert [(entry.source_ref, entry.label) for entry in entries] == [
        ("s3://plant/1", "anomaly"),
        ("s3://plant/2", "normal"),
    ]
    assert json.loads(entries[0].line)["note"] == "second"


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("normal", "anomaly", "line 3 labels s3://plant/1 as anomaly, line 1 as normal"),
        ("anomaly", "normal", "line 3 labels s3://plant/1 as normal, line 1 as anomaly"),
        ("normal", "other", "line 3 labels s3://plant/1 as unlabelled, line 1 as normal"),
        ("other", "normal", "line 3 labels s3://plant/1 as normal, line 1 as unlabelled"),
    ],
)
def test_a_source_ref_with_two_labels_is_refused_with_both_lines(first: str, second: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        parse_manifest(manifest(classified("1", first), classified("2"), classified("1", second)))


def test_source_refs_differ_by_every_character() -> None:
    keys = ["a", "A", "a ", "a%20", "ä", "a\N{COMBINING DIAERESIS}", "./a", "../a", "a/"]
    assert len(parse_manifest(manifest(*[classified(key) for key in keys]))) == len(keys)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(TEXT, st.sampled_from(["normal", "anomaly", None]), st.booleans())
def test_a_line_that_we_write_is_read_back(key: str, name: str | None, masked: bool) -> None:
    mask = Mask(f"s3://plant/masks/{key}", {"scratch": "#2ca02c", "dent2": "#1F77B4"}) if masked else None
    line = label_line(f"s3://plant/{key}", name, "2024-05-06T07:08:09.123456", mask)
    assert "\n" not in line
    [entry] = parse_manifest(line.encode())
    assert (entry.source_ref, entry.label, entry.has_mask, entry.line) == (f"s3://plant/{key}", name, masked, line)
    assert parse_line(line).mask == mask


@given(st.dictionaries(TEXT, st.sampled_from(["normal", "anomaly", "unsure"]), min_size=1, max_size=8))
def test_what_was_read_is_written_as_it_came(labels: dict[str, str]) -> None:
    text = manifest(*[classified(key, name) for key, name in labels.items()])
    entries = parse_manifest(text)
    assert write_manifest(entries) == text
    assert [entry.source_ref for entry in entries] == [f"s3://plant/{key}" for key in labels]


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_read_or_refused_with_a_line(data: bytes) -> None:
    try:
        entries = parse_manifest(data)
    except ManifestError as error:
        refusal = str(error)
    else:
        refusal = None
        assert entries == []
    assert refusal is None or refusal.startswith("line ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("yes"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["type", "class-name", "hex-color", "human-annotated", "internal-color-map", "0", "x-metadata", "x"]
            ),
            inner | st.sampled_from(["groundtruth/image-classification", "groundtruth/semantic-segmentation"]),
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["x", "x-metadata", "y-ref", "y-ref-metadata", "z-metadata"]), JSON))
def test_any_json_is_read_or_refused_in_words(content: dict[str, Any]) -> None:
    line = json.dumps({"source-ref": "s3://plant/a.png"} | content)
    try:
        found = parse_line(line).label
    except ManifestError as error:
        found = str(error)
    assert found in (None, "normal", "anomaly") or found.startswith(("has ", "is not "))


@pytest.mark.skipif(not TEMPLATE.exists(), reason="../shared/data/cookie/template.manifest is not there")
def test_aws_own_sample_is_accepted_once_it_has_a_bucket() -> None:
    lines = [json.loads(line) for line in TEMPLATE.read_text().splitlines()]
    for line in lines:
        line |= {name: f"s3://plant/{line[name]}" for name in ("source-ref", "anomaly-mask-ref") if name in line}
    entries = parse_manifest(manifest(*lines))
    assert len(entries) == 63
    assert [sum(entry.label == name for entry in entries) for name in ("normal", "anomaly")] == [31, 32]
    masks = [parse_line(entry.line).mask for entry in entries if entry.has_mask]
    assert len(masks) == 32
    assert {(name, colour) for mask in masks if mask for name, colour in mask.colours.items()} == {
        ("cracked", "#23A436")
    }
