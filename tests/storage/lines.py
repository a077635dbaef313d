"""Manifest lines, good until a test makes them otherwise."""

import json
from typing import Any


def classified(key: str = "a.png", label: str = "normal", bucket: str = "plant", **more: Any) -> dict[str, Any]:
    """An image with a label."""
    return {
        "source-ref": f"s3://{bucket}/{key}",
        "anomaly-label": int(label == "anomaly"),
        "anomaly-label-metadata": {
            "class-name": label,
            "human-annotated": "yes",
            "type": "groundtruth/image-classification",
        },
    } | more


def segmented(colours: dict[str, str], key: str = "a.png", **more: Any) -> dict[str, Any]:
    """An anomalous image with a mask; `colours` is anomaly name → colour."""
    entries = {str(n): {"class-name": name, "hex-color": colour} for n, (name, colour) in enumerate(colours.items())}
    return {
        **classified(key, "anomaly"),
        "anomaly-mask-ref": f"s3://plant/masks/{key}",
        "anomaly-mask-ref-metadata": {
            "internal-color-map": entries,
            "human-annotated": "yes",
            "type": "groundtruth/semantic-segmentation",
        },
    } | more


def without(line: dict[str, Any], *path: str) -> dict[str, Any]:
    """The line less one member, however deep."""
    return changed(line, _GONE, *path)


_GONE = object()


def changed(line: dict[str, Any], value: Any, *path: str) -> dict[str, Any]:
    """The line with another value of one member."""
    first, *rest = path
    if rest:
        return line | {first: changed(line[first], value, *rest)}
    if value is _GONE:
        return {name: kept for name, kept in line.items() if name != first}
    return line | {first: value}


def manifest(*lines: dict[str, Any]) -> bytes:
    """JSON Lines."""
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
