"""`vigil detect`: decisions on images, as a table or as JSON, with heat maps where they are wanted."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from api.cli.client import Client, Detection, ServiceRefusal
from api.cli.comparison import ReadImage, add_comparison, describe_regions, training_images
from api.cli.folder import content_type, read_folder
from api.cli.models import newest
from api.cli.object_store import objects_of
from api.cli.options import DataDir, Port, Project, connect, read_settings
from api.cli.overlay import draw_overlay
from api.cli.terminal import CommandError, out, progress, say
from storage.hosting import EXPLAIN_MAP, EXPLAIN_REGIONS

Images = Annotated[list[Path], typer.Argument(help="Images (JPEG, PNG), or folders of images.", show_default=False)]
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
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per image instead of a table.")]


@dataclass(frozen=True)
class Picture:
    """An image to look at; `name` is how it is called in results."""

    path: Path
    name: str


@dataclass(frozen=True)
class Outcome:
    """What became of an image: a detection, or the reason why there is none. `overlay` is the picture written."""

    picture: Picture
    detection: Detection | None
    problem: str = ""
    overlay: Path | None = None


def detect(
    project: Project,
    images: Images,
    version: Version = None,
    overlay: Overlays = None,
    *,
    explain: Explain = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    port: Port = None,
) -> None:
    """Decide for each image whether it is anomalous. Exit code 1 when an image could not be judged."""
    pictures = list(find_pictures(images, read_settings(data_dir, port).max_image_bytes))
    with connect(data_dir, port) as client, progress() as bar:
        version = version or newest(client, project, "HOSTED")
        read = training_images(objects_of(client, data_dir, port)) if explain else None
        outcomes = detect_all(client, project, version, pictures, overlay, bar, read)
    if as_json:
        for outcome in outcomes:
            typer.echo(json.dumps(_json(outcome), ensure_ascii=False))
    else:
        out.print(_table(outcomes, explain))
    if overlay is not None:
        say(f"Heat maps: {overlay.absolute()}")
    if failed := sum(outcome.detection is None for outcome in outcomes):
        raise CommandError(f"{failed} of {len(outcomes)} images could not be judged; the reasons are above.")


def find_pictures(images: Iterable[Path], max_bytes: int) -> Iterable[Picture]:
    """The images named, and those of the folders named. Raises CommandError for what is neither."""
    for path in images:
        if path.is_dir():
            samples = read_folder(path, labelled=False, max_bytes=max_bytes).samples["train"]
            yield from (Picture(sample.path, sample.name) for sample in samples)
        elif path.exists():
            yield Picture(path, path.name)
        else:
            raise CommandError(f"{path} does not exist; name an image or a folder of images.")


def detect_all(
    client: Client,
    project: str,
    version: str,
    pictures: Sequence[Picture],
    overlays: Path | None,
    bar: Progress,
    read: ReadImage | None = None,
) -> list[Outcome]:
    """Send all images, one after another; an image that is refused does not keep the others from being judged.

    With `read`, which gets the training images, anomalous regions are explained.
    """
    if overlays is not None:
        overlays.mkdir(parents=True, exist_ok=True)
    outcomes = []
    names: set[str] = set()
    for picture in bar.track(pictures, description="Looking for anomalies"):
        try:
            target = overlays / _file_name(picture.name, names) if overlays else None
            outcomes.append(_detect(client, project, version, picture, target, read))
        except ServiceRefusal as error:
            if error.kind != "ValidationException":
                raise
            outcomes.append(Outcome(picture, None, str(error)))
    return outcomes


def _detect(
    client: Client, project: str, version: str, picture: Picture, target: Path | None, read: ReadImage | None
) -> Outcome:
    try:
        data, type_ = picture.path.read_bytes(), content_type(picture.path)
    except OSError as error:
        return Outcome(picture, None, f"cannot be read: {error.strerror}")
    if type_ is None:
        return Outcome(picture, None, "is not a JPEG or PNG image")
    wanted = [word for word, asked in ((EXPLAIN_MAP, target), (EXPLAIN_REGIONS, read)) if asked is not None]
    detection = client.detect(project, version, data, type_, wanted)
    if target is None:
        return Outcome(picture, detection)
    try:
        drawn = draw_overlay(data, detection, picture.name)
        if read is not None and detection.regions:
            drawn = add_comparison(drawn, data, detection.regions[0], read)
        drawn.save(target)
    except OSError as error:
        return Outcome(picture, detection, f"no heat map could be written: {error}")
    return Outcome(picture, detection, overlay=target)


def _file_name(name: str, taken: set[str]) -> str:
    """A name for the heat map of an image; images of the same name, from several folders, get a number."""
    stem = name.removesuffix(".png").replace("/", "_")
    names = (f"{stem}{suffix}.overlay.png" for suffix in ("", *(f"-{number}" for number in range(2, len(taken) + 3))))
    chosen = next(candidate for candidate in names if candidate not in taken)
    taken.add(chosen)
    return chosen


def decision(detection: Detection) -> Text:
    """The decision as a coloured word."""
    return Text("anomaly", "bold red") if detection.is_anomalous else Text("normal", "green")


def _table(outcomes: Iterable[Outcome], explained: bool) -> Table:
    table = Table("Image", "Decision", "Confidence", "Found", *(["Regions"] if explained else []), show_lines=False)
    table.columns[0].overflow = "fold"
    for outcome in outcomes:
        name, detection = outcome.picture.name, outcome.detection
        if detection is None:
            table.add_row(name, Text("not judged", "yellow"), "", outcome.problem)
        else:
            found = outcome.problem or detection.found
            why = [describe_regions(detection.regions or ())] if explained else []
            table.add_row(name, decision(detection), f"{detection.confidence:.3f}", found, *why)
    return table


def _json(outcome: Outcome) -> dict[str, object]:
    image = str(outcome.picture.path)
    if outcome.detection is None:
        return {"Image": image, "Error": outcome.problem}
    regions = outcome.detection.regions
    explanation = {} if regions is None else {"Explanation": {"Regions": regions}}
    return {"Image": image, **outcome.detection.result, **explanation}
