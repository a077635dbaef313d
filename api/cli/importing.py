"""`vigil import`: copies images into the object store and adds them to a data set."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer
from rich.progress import Progress

from api.cli.client import Client
from api.cli.folder import Folder, Sample, Skipped, read_folder
from api.cli.masks import colour_of, coloured_mask
from api.cli.object_store import objects_of
from api.cli.options import DataDir, Port, connect, read_settings
from api.cli.terminal import CommandError, out, progress, say
from api.cli.waiting import await_dataset
from storage.errors import ObjectError
from storage.manifest import Mask, label_line
from storage.objects import OWN_BUCKET, Objects, image_key

# AWS allows 10 MiB of changes in one call.
_CHANGES_BYTES = 8 * 2**20
_SHOWN = 20


class DatasetType(StrEnum):
    """The data sets that a project may have."""

    TRAIN = "train"
    TEST = "test"


Source = Annotated[Path, typer.Argument(help="Folder with JPEG or PNG images.", show_default=False)]
ProjectName = Annotated[str, typer.Option("--project", help="Project; it is made when it is missing.")]
Type = Annotated[
    DatasetType | None,
    typer.Option("--dataset", help="Data set. Default: train, or both for a folder that has train/ and test/."),
]
Labels = Annotated[
    bool,
    typer.Option("--label-from-folders", help="Label images by their folders; without this they stay unlabelled."),
]


def import_(
    folder: Source,
    project: ProjectName,
    dataset: Type = None,
    *,
    label_from_folders: Labels = False,
    data_dir: DataDir = None,
    port: Port = None,
) -> None:
    """Copy a folder's images into Vigil and add them to a data set.

    With --label-from-folders: normal/ or good/ hold normal images, anomaly/ or bad/ anomalous ones. In a folder with
    train/ and test/ (the layout of MVTec AD) other folders are kinds of defects, and ground_truth/KIND/NAME_mask.png
    are their masks. A folder that has a manifest (*.manifest) is not for this command: use CreateDataset for it.
    """
    settings = read_settings(data_dir, port)
    found = read_folder(folder, labelled=label_from_folders, max_bytes=settings.max_image_bytes)
    with connect(data_dir, port) as client, progress() as bar:
        objects = objects_of(client, data_dir, port)
        if objects is None:
            raise CommandError(
                f"The service at {client.endpoint} keeps its data elsewhere than in {settings.data_dir}; "
                "name its directory with --data-dir, so that the images are copied to where it looks for them."
            )
        skipped = list(found.skipped)
        for type_, samples in _targets(found, dataset):
            skipped += import_samples(client, objects, project, type_, samples, bar)
    for item in skipped[:_SHOWN]:
        say(f"Skipped: {item.name} {item.reason}.")
    if len(skipped) > _SHOWN:
        say(f"Skipped: {len(skipped) - _SHOWN} more.")
    with connect(data_dir, port) as client:
        for state in client.datasets(project):
            rest = state.total - state.labeled
            counts = f"{state.total} images: {state.normal} normal, {state.anomaly} anomalous, {rest} unlabelled"
            out.print(f"The {state.type} data set of project '{project}' has {counts}.", soft_wrap=True)


def import_samples(
    client: Client, objects: Objects, project: str, type_: str, samples: Sequence[Sample], bar: Progress
) -> list[Skipped]:
    """Make project and data set where they are missing, store the images, add the entries, and wait for the end.

    → the images and masks that could not be stored. Raises CommandError where the service refuses the entries.
    """
    if project not in client.projects():
        client.create_project(project)
    _dataset(client, project, type_)
    skipped: list[Skipped] = []
    lines = []
    for sample in bar.track(samples, description=f"Copying images to {project}/{type_}"):
        try:
            lines.append(_store(objects, project, type_, sample, skipped))
        except (ObjectError, OSError) as error:
            skipped.append(Skipped(sample.name, f"cannot be copied: {error}"))
    task = bar.add_task(f"Adding entries to {project}/{type_}", total=len(lines))
    for chunk in chunks(lines):
        client.update_entries(project, type_, "\n".join(chunk).encode())
        await_dataset(client, project, type_)
        bar.advance(task, len(chunk))
    return skipped


def chunks(lines: Iterable[str], limit: int = _CHANGES_BYTES) -> Iterator[list[str]]:
    """The lines in parts that one UpdateDatasetEntries may carry."""
    part: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode()) + 1
        if part and size + length > limit:
            yield part
            part, size = [], 0
        part.append(line)
        size += length
    if part:
        yield part


def _targets(found: Folder, dataset: DatasetType | None) -> list[tuple[str, list[Sample]]]:
    if not found.divided:
        return [(dataset or DatasetType.TRAIN, found.samples["train"])]
    chosen = [(type_, samples) for type_, samples in found.samples.items() if dataset in (None, type_)]
    if not any(samples for _, samples in chosen):
        raise CommandError(f"The folder has no images below {dataset}/.")
    return [(type_, samples) for type_, samples in chosen if samples]


def _dataset(client: Client, project: str, type_: str) -> None:
    state = next((state for state in client.datasets(project) if state.type == type_), None)
    if state is not None and state.status == "CREATE_FAILED":
        # It has no entries and takes none: nothing is lost with it.
        say(f"The {type_} data set of project '{project}' had failed ({state.message}); it is made anew.")
        client.delete_dataset(project, type_)
        state = None
    if state is None:
        client.create_dataset(project, type_)
    elif state.status.endswith("_IN_PROGRESS"):
        await_dataset(client, project, type_)


def _store(objects: Objects, project: str, type_: str, sample: Sample, skipped: list[Skipped]) -> str:
    """Copy one image with its mask. → its manifest line"""
    source_ref = _put(objects, project, type_, sample.name, sample.path.read_bytes())
    mask = None
    if sample.mask is not None and sample.defect is not None:
        name = f"ground_truth/{sample.defect}/{sample.mask.name}"
        try:
            data = coloured_mask(sample.mask.read_bytes(), sample.defect)
        except (OSError, ValueError) as error:
            skipped.append(Skipped(str(sample.mask), f"cannot be read ({error}); its image is imported without a mask"))
            data = None
        if data is not None:
            colours = {sample.defect: colour_of(sample.defect)}
            mask = Mask(_put(objects, project, type_, name, data), colours)
    return label_line(source_ref, sample.label, datetime.now(UTC).isoformat(timespec="milliseconds"), mask)


def _put(objects: Objects, project: str, type_: str, name: str, data: bytes) -> str:
    """Store bytes under the name, or under one with their digest where other bytes have that name already."""
    for candidate in (name, _with_digest(name, data)):
        key = image_key(project, type_, candidate)
        if objects.size(OWN_BUCKET, key) is None:
            objects.put(OWN_BUCKET, key, data)
        elif objects.get(OWN_BUCKET, key) != data:
            continue
        return f"s3://{OWN_BUCKET}/{key}"
    raise ObjectError(f"s3://{OWN_BUCKET}/{key} holds another image already")


def _with_digest(name: str, data: bytes) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}-{hashlib.sha256(data).hexdigest()[:12]}{path.suffix}"))
