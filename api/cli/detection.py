"""`vigil detect`: decisions on images, as a table, as JSON or in a file, with heat maps where they are wanted."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from api.cli.client import Client, Detection
from api.cli.comparison import ReadImage, describe_regions, training_images
from api.cli.models import newest
from api.cli.object_store import objects_of, with_store
from api.cli.options import DataDir, Port, Project, connect, read_settings
from api.cli.outcomes import Outcome, judge, overlay_paths
from api.cli.pictures import Picture, find_pictures
from api.cli.results import Results, json_of
from api.cli.terminal import CommandError, out, progress, say
from storage.objects import Objects
from storage.stores import open_objects

Images = Annotated[
    list[str],
    typer.Argument(help="Images (JPEG, PNG), folders with all below them, or s3://BUCKET/PREFIX.", show_default=False),
]
Version = Annotated[
    str | None, typer.Option("--version", help="Version number, or latest. Default: the newest hosted one.")
]
Overlays = Annotated[
    Path | None,
    typer.Option("--overlay", metavar="DIR", help="Write the images with their heat maps into this folder."),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain", help="Tell for each anomalous region the normal patch that is most like it; --overlay shows both."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Add the results to this file, CSV (.csv) or JSON Lines (.jsonl); images that it has are passed over.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per image instead of a table.")]

_DESCRIPTION = "Looking for anomalies"
_NOT_JUDGED = "not judged"


def detect(
    project: Project,
    images: Images,
    version: Version = None,
    overlay: Overlays = None,
    output: Output = None,
    *,
    explain: Explain = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    port: Port = None,
) -> None:
    """Decide for each image whether it is anomalous. Exit code 1 when an image could not be judged.

    With --output a run that was ended, however hard, is gone on with by the same command.
    """
    settings = read_settings(data_dir, port)
    with connect(data_dir, port) as client, progress() as bar:

        def store() -> Objects:
            # A MinIO of the service's own is found by the port of the service that was found.
            return open_objects(with_store(read_settings(data_dir, port or client.port)))

        pictures = list(find_pictures(images, settings.max_image_bytes, store))
        read = training_images(objects_of(client, data_dir, port)) if explain else None
        if version is None:
            version = newest(client, project, "HOSTED")
        elif version == "latest":
            version = client.model(project, version).version
        if output is None:
            outcomes = detect_all(client, project, version, pictures, overlay, bar, read)
            counts = Counter(map(_word, outcomes))
        else:
            counts = _add_all(client, project, version, pictures, overlay, output, bar, read)
    if output is not None:
        told = ", ".join(f"{counts[word]} {word}" for word in ("anomaly", "normal", _NOT_JUDGED))
        out.print(f"{counts.total()} images: {told}. Results: {output.absolute()}", soft_wrap=True)
    elif as_json:
        for outcome in outcomes:
            typer.echo(json.dumps(json_of(outcome), ensure_ascii=False))
    else:
        out.print(_table(outcomes, explain))
    if overlay is not None:
        say(f"Heat maps: {overlay.absolute()}")
    if failed := counts[_NOT_JUDGED]:
        where = "above" if output is None else f"in {output}"
        raise CommandError(f"{failed} of {counts.total()} images could not be judged; the reasons are {where}.")


def detect_all(
    client: Client,
    project: str,
    version: str,
    pictures: Sequence[Picture],
    overlays: Path | None,
    bar: Progress,
    read: ReadImage | None = None,
) -> list[Outcome]:
    """What becomes of each image; with `read`, which gets the training images, anomalous regions are explained."""
    work = _with_overlays(pictures, overlays)
    return list(bar.track(judge(client, project, version, work, read), total=len(work), description=_DESCRIPTION))


def _add_all(
    client: Client,
    project: str,
    version: str,
    pictures: Sequence[Picture],
    overlays: Path | None,
    output: Path,
    bar: Progress,
    read: ReadImage | None,
) -> Counter[str]:
    """Add what becomes of each image to the file that does not have it yet. → the images of this run, by decision"""
    counts: Counter[str] = Counter()
    with Results(output, f"{project}/{version}") as results:
        # Names of heat maps are given to all images, so that they do not depend on how often a run was ended.
        work = [item for item in _with_overlays(pictures, overlays) if item[0].place not in results.done]
        if len(work) < len(pictures):
            say(f"{len(pictures) - len(work)} of {len(pictures)} images are in {output} already.")
        judged = judge(client, project, version, work, read)
        for outcome in bar.track(judged, total=len(work), description=_DESCRIPTION):
            results.add(outcome)
            counts[_word(outcome)] += 1
    return counts


def _with_overlays(pictures: Sequence[Picture], folder: Path | None) -> list[tuple[Picture, Path | None]]:
    targets = repeat(None) if folder is None else overlay_paths(pictures, folder)
    return list(zip(pictures, targets, strict=False))


def _word(outcome: Outcome) -> str:
    return _NOT_JUDGED if outcome.detection is None else decision(outcome.detection).plain


def decision(detection: Detection) -> Text:
    """The decision as a coloured word."""
    return Text("anomaly", "bold red") if detection.is_anomalous else Text("normal", "green")


def _table(outcomes: Iterable[Outcome], explained: bool) -> Table:
    table = Table("Image", "Decision", "Confidence", "Found", *(["Regions"] if explained else []), show_lines=False)
    table.columns[0].overflow = "fold"
    for outcome in outcomes:
        name, detection = outcome.picture.name, outcome.detection
        if detection is None:
            table.add_row(name, Text(_NOT_JUDGED, "yellow"), "", outcome.problem)
        else:
            found = outcome.problem or detection.found
            why = [describe_regions(detection.regions or ())] if explained else []
            table.add_row(name, decision(detection), f"{detection.confidence:.3f}", found, *why)
    return table
