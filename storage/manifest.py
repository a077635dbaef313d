"""Manifests: JSON Lines ↔ entries, for classification and segmentation, as lenient as AWS was and no more.

AWS, Lookout for Vision developer guide, "Creating a manifest file". Label keys may have any name; the label's value is
ignored and only `class-name` counts. A class-name other than normal or anomaly makes the image unlabelled. A colour map
needs neither a BACKGROUND entry nor confidences: AWS's own sample has none.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import regex

from storage.errors import ManifestError, ObjectError
from storage.objects import parse_s3
from storage.records import Entry

LONGEST_LINE = 8192
CLASSIFICATION = "groundtruth/image-classification"
SEGMENTATION = "groundtruth/semantic-segmentation"
LABELS = ("normal", "anomaly")
_COLOUR = regex.compile(r"#[0-9a-fA-F]{6}")
_ANOMALY_NAME = regex.compile(r"[a-zA-Z0-9]{1,256}")
_MOST_LABELS_IN_MASK = 20


@dataclass(frozen=True)
class Mask:
    """Where an image's mask lies and what its colours mean: anomaly name → "#rrggbb" as the manifest spells it."""

    reference: str
    colours: Mapping[str, str]


@dataclass(frozen=True)
class ManifestLine:
    """What one line says. `label` is normal, anomaly, or None for an image that is not labelled."""

    source_ref: str
    label: str | None
    mask: Mask | None
    content: Mapping[str, Any]

    def entry(self, line: str) -> Entry:
        """The record that keeps this line."""
        return Entry(self.source_ref, line, self.label, self.mask is not None)


def parse_line(line: str) -> ManifestLine:
    """Read one manifest line. Raises ManifestError that says what is wrong with it and what is expected."""
    if len(line) > LONGEST_LINE:
        raise ManifestError(f"has {len(line):,} characters; at most {LONGEST_LINE:,} are allowed")
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ManifestError("is not a JSON object in braces")
    source_ref = _reference(content, "source-ref")
    return ManifestLine(source_ref, _label(content), _mask(content), content)


def parse_manifest(text: bytes) -> list[Entry]:
    """Read a whole manifest (UTF-8 JSON Lines; empty lines are passed over).

    All images must lie in one bucket. A source-ref may come again with the same label (the later line counts), but not
    with another one. Raises ManifestError that names the line.
    """
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = text[: error.start].count(b"\n") + 1
        raise ManifestError(f"line {number} is not UTF-8 text; save the manifest as UTF-8 JSON Lines") from None
    seen: dict[str, tuple[int, str | None]] = {}
    entries: dict[str, Entry] = {}
    bucket = None
    for number, line in enumerate(decoded.split("\n"), 1):
        line = line.strip(" \t\r")
        if not line:
            continue
        try:
            parsed = parse_line(line)
        except ManifestError as error:
            raise ManifestError(f"line {number} {error}") from None
        earlier, label = seen.get(parsed.source_ref, (number, parsed.label))
        if label != parsed.label:
            raise ManifestError(
                f"line {number} labels {parsed.source_ref} as {parsed.label or 'unlabelled'}, "
                f"line {earlier} as {label or 'unlabelled'}; keep one of the two"
            )
        seen[parsed.source_ref] = (number, parsed.label)
        bucket = bucket or _bucket(parsed.source_ref)
        if _bucket(parsed.source_ref) != bucket:
            raise ManifestError(
                f"line {number} names bucket '{_bucket(parsed.source_ref)}', the lines before it bucket '{bucket}'; "
                "all images of a data set must be in one bucket"
            )
        entries[parsed.source_ref] = parsed.entry(line)
    return list(entries.values())


def write_manifest(entries: Iterable[Entry]) -> bytes:
    """The entries' lines as they came, one per line."""
    return "".join(f"{entry.line}\n" for entry in entries).encode()


def check_bucket(entries: Iterable[Entry], bucket: str | None) -> None:
    """Raise ManifestError for an entry outside the bucket of the data set it is added to."""
    for entry in entries:
        if bucket is not None and _bucket(entry.source_ref) != bucket:
            raise ManifestError(
                f"{entry.source_ref} is not in bucket '{bucket}' like the images of the data set; "
                "all images of a data set must be in one bucket"
            )


def bucket_of(entry: Entry) -> str:
    """The bucket an entry's image lies in."""
    return _bucket(entry.source_ref)


def label_line(source_ref: str, label: str | None, created: str, mask: Mask | None = None) -> str:
    """A manifest line in AWS's form. `created` is an ISO 8601 time."""
    content: dict[str, Any] = {"source-ref": source_ref}
    common = {"human-annotated": "yes", "creation-date": created}
    if label is not None:
        content["anomaly-label"] = int(label == "anomaly")
        job = {"job-name": "labeling-job/anomaly-label"}
        content["anomaly-label-metadata"] = {
            "confidence": 1,
            "class-name": label,
            "type": CLASSIFICATION,
            **common,
            **job,
        }
    if mask is not None:
        colours = {"0": {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence": 0.0}}
        for number, (name, colour) in enumerate(mask.colours.items(), 1):
            colours[str(number)] = {"class-name": name, "hex-color": colour, "confidence": 0.0}
        content["anomaly-mask-ref"] = mask.reference
        job = {"job-name": "labeling-job/anomaly-mask-ref"}
        content["anomaly-mask-ref-metadata"] = {
            "internal-color-map": colours,
            "type": SEGMENTATION,
            **common,
            **job,
        }
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def _reference(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str):
        raise ManifestError(f"has no '{key}' that names an image as s3://BUCKET/KEY")
    try:
        parse_s3(value)
    except ObjectError:
        raise ManifestError(f"has '{key}' {value[:200]!r}, which is not of the form s3://BUCKET/KEY") from None
    return value


def _bucket(reference: str) -> str:
    return parse_s3(reference)[0]


def _metadata(content: Mapping[str, Any], type_: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, value in content.items():
        if key.endswith("-metadata") and isinstance(value, dict) and value.get("type") == type_:
            yield key, value


def _label(content: Mapping[str, Any]) -> str | None:
    found = list(_metadata(content, CLASSIFICATION))
    if not found:
        for key, value in content.items():
            if key.endswith("-metadata") and isinstance(value, dict) and "class-name" in value:
                raise ManifestError(f'has \'{key}\' without "type": "{CLASSIFICATION}"')
        return None
    if len(found) > 1:
        raise ManifestError(f"has {len(found)} labels ({', '.join(key for key, _ in found)}); one is allowed")
    key, metadata = found[0]
    _needs(content, key.removesuffix("-metadata"), key)
    name = _class_name(metadata, key)
    _human_annotated(metadata, key)
    return name.lower() if name.lower() in LABELS else None


def _mask(content: Mapping[str, Any]) -> Mask | None:
    found = list(_metadata(content, SEGMENTATION))
    if not found:
        return None
    if len(found) > 1:
        raise ManifestError(f"has {len(found)} masks ({', '.join(key for key, _ in found)}); one is allowed")
    key, metadata = found[0]
    if not key.endswith("-ref-metadata"):
        raise ManifestError(f"has '{key}'; the name of a mask's metadata must end in '-ref-metadata'")
    reference = _reference(content, key.removesuffix("-metadata"))
    if _bucket(reference) != _bucket(content["source-ref"]):
        raise ManifestError(f"has its mask in bucket '{_bucket(reference)}'; it must be in the bucket of the image")
    _human_annotated(metadata, key)
    colour_map = metadata.get("internal-color-map")
    if not isinstance(colour_map, dict) or not all(isinstance(value, dict) for value in colour_map.values()):
        raise ManifestError(f"has '{key}' without an 'internal-color-map' that tells what the mask's colours mean")
    colours: dict[str, str] = {}
    background: set[str] = set()
    for value in colour_map.values():
        name, colour = _class_name(value, key), value.get("hex-color")
        if not isinstance(colour, str) or not _COLOUR.fullmatch(colour):
            raise ManifestError(f"has '{key}' with hex-color {colour!r} for '{name}'; '#' and six digits are expected")
        if name.upper() == "BACKGROUND":
            background.add(colour.lower())
            continue
        if not _ANOMALY_NAME.fullmatch(name):
            raise ManifestError(f"has the anomaly label {name[:80]!r}; 1 to 256 letters and digits are allowed")
        if name in colours:
            raise ManifestError(f"has the anomaly label '{name}' twice in the colour map of '{key}'")
        if colour.lower() in (known.lower() for known in colours.values()):
            raise ManifestError(f"has the colour {colour} for two anomaly labels in '{key}'")
        colours[name] = colour
    for name, colour in colours.items():
        if colour.lower() in background:
            raise ManifestError(f"has the colour {colour} for '{name}' and for the background in '{key}'")
    if len(colours) > _MOST_LABELS_IN_MASK:
        raise ManifestError(
            f"has {len(colours)} anomaly labels in one mask; at most {_MOST_LABELS_IN_MASK} are allowed"
        )
    return Mask(reference, colours)


def _needs(content: Mapping[str, Any], key: str, because: str) -> None:
    if key not in content:
        raise ManifestError(f"has '{because}' but no '{key}'")


def _class_name(metadata: Mapping[str, Any], key: str) -> str:
    name = metadata.get("class-name")
    if not isinstance(name, str):
        raise ManifestError(f"has '{key}' without a 'class-name'")
    return name


def _human_annotated(metadata: Mapping[str, Any], key: str) -> None:
    if metadata.get("human-annotated") not in ("yes", "no"):
        raise ManifestError(f'has \'{key}\' without "human-annotated": "yes" or "no"')
