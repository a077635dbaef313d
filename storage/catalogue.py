"""The catalogue: projects, data sets, models and tags. Every change of status names the statuses it may leave."""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.database import Database
from storage.errors import Conflict, Missing
from storage.records import (
    DATASET_TRANSITIONS,
    MODEL_TRANSITIONS,
    Dataset,
    DatasetStatus,
    Entry,
    ImageCounts,
    Model,
    ModelStatus,
    Performance,
    Project,
    Stored,
    now,
    origins,
)
from storage.tags import Tags

_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class EntryFilter:
    """What ListDatasetEntries may ask for; None asks for everything."""

    labeled: bool | None = None
    label: str | None = None
    before: datetime | None = None
    after: datetime | None = None
    contains: str | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """The filter as SQL."""
        entry = schema.entry.c
        if self.labeled is not None:
            yield entry.label.is_not(None) if self.labeled else entry.label.is_(None)
        if self.label is not None:
            yield entry.label == self.label
        if self.before is not None:
            yield entry.created < self.before
        if self.after is not None:
            yield entry.created > self.after
        if self.contains is not None:
            yield entry.source_ref.contains(self.contains, autoescape=True)


class Catalogue:
    """Reads and guarded transitions. Raises Missing and Conflict; joins the database's open transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.tags = Tags(database)

    # Projects

    def create_project(self, name: str) -> Project:
        """A new project. Raises Conflict where the name is taken."""
        project = Project(name, now())
        try:
            with self.database.attempt():
                self._write(schema.project.insert().values(**asdict(project), last_version=0))
        except sa.exc.IntegrityError:
            raise Conflict(f"project '{name}' exists already", "PROJECT", name) from None
        return project

    def project(self, name: str) -> Project:
        """Raises Missing."""
        row = self._one(sa.select(schema.project).where(schema.project.c.name == name))
        if row is None:
            raise Missing(f"there is no project '{name}'", "PROJECT", name)
        return Project(row.name, row.created)

    def projects(
        self, after: str = "", limit: int | None = None, among: Collection[str] | None = None
    ) -> list[Project]:
        """Projects in the order of their names, from the one after `after`; with `among` only those named there."""
        c = schema.project.c
        query = sa.select(schema.project).where(c.name > after).order_by(c.name).limit(limit)
        rows = self._all(query if among is None else query.where(c.name.in_(among)))
        return [Project(row.name, row.created) for row in rows]

    def delete_project(self, name: str) -> None:
        """Raises Missing, and Conflict where data sets or models are left."""
        self.project(name)
        try:
            with self.database.attempt():
                self._write(schema.project.delete().where(schema.project.c.name == name))
        except sa.exc.IntegrityError:
            message = f"project '{name}' still has data sets or models; delete them first"
            raise Conflict(message, "PROJECT", name) from None

    # Data sets

    def create_dataset(self, project: str, type_: str, status: DatasetStatus, message: str) -> Dataset:
        """A new, empty data set. Raises Missing for the project, Conflict where one of this type exists."""
        self.project(project)
        moment = now()
        dataset = Dataset(str(uuid.uuid4()), project, type_, status, message, moment, moment, ImageCounts())
        values = {key: value for key, value in asdict(dataset).items() if key != "counts"}
        try:
            with self.database.attempt():
                self._write(schema.dataset.insert().values(**values))
        except sa.exc.IntegrityError:
            message = f"project '{project}' already has a {type_} data set"
            raise Conflict(message, "DATASET", f"{project}/{type_}") from None
        return dataset

    def dataset(self, project: str, type_: str) -> Dataset:
        """Raises Missing for the project or the data set."""
        for dataset in self.datasets(project):
            if dataset.type == type_:
                return dataset
        raise Missing(f"project '{project}' has no {type_} data set", "DATASET", f"{project}/{type_}")

    def datasets(self, project: str) -> list[Dataset]:
        """The project's data sets, train before test. Raises Missing for the project."""
        self.project(project)
        d = schema.dataset.c
        rows = self._all(sa.select(schema.dataset).where(d.project == project).order_by(d.type.desc()))
        return [self._dataset(row) for row in rows]

    def dataset_by_id(self, id_: str) -> Dataset | None:
        """The data set a job is about, or None where it was deleted since."""
        row = self._one(sa.select(schema.dataset).where(schema.dataset.c.id == id_))
        return None if row is None else self._dataset(row)

    def move_dataset(self, dataset: Dataset, status: DatasetStatus, message: str) -> None:
        """Change the status. Raises Conflict where the present one does not allow it, or the data set is gone."""
        d = schema.dataset.c
        allowed = origins(DATASET_TRANSITIONS, status)
        where = (d.id == dataset.id) & d.status.in_(allowed)
        changes = {"status": status, "message": message, "updated": now()}
        if not self._write(schema.dataset.update().where(where).values(**changes)):
            raise Conflict(
                f"the {dataset.type} data set of project '{dataset.project}' is {dataset.status}; "
                f"it can become {status} only from {', '.join(sorted(allowed))}",
                "DATASET",
                f"{dataset.project}/{dataset.type}",
            )

    def note_import(self, dataset: Dataset, message: str) -> None:
        """Tell the users of a data set what its import waits for; its status stays the one that was read."""
        d = schema.dataset.c
        self._write(
            schema.dataset.update().where(d.id == dataset.id, d.status == dataset.status).values(message=message)
        )

    def delete_dataset(self, project: str, type_: str) -> None:
        """Remove a data set with its entries, at once. Raises Missing."""
        dataset = self.dataset(project, type_)
        self._write(schema.entry.delete().where(schema.entry.c.dataset == dataset.id))
        self._write(schema.dataset.delete().where(schema.dataset.c.id == dataset.id))

    # Entries

    def put_entries(self, dataset: Dataset, entries: Iterable[Entry]) -> None:
        """Add entries; one with the source-ref of an entry that is there replaces it."""
        e = schema.entry.c
        with self.database.transaction() as connection:
            rows = connection.execute(sa.select(e.source_ref, e.number).where(e.dataset == dataset.id))
            known = {row.source_ref: row.number for row in rows}
            fresh, changed = [], []
            for entry in entries:
                values = {**asdict(entry), "dataset": dataset.id}
                if entry.source_ref in known:
                    changed.append({**values, "key": known[entry.source_ref]})
                else:
                    fresh.append(values)
            for chunk in _chunks(fresh):
                connection.execute(schema.entry.insert(), chunk)
            update = schema.entry.update().where(e.number == sa.bindparam("key"))
            update = update.values({name: sa.bindparam(name) for name in ("line", "label", "has_mask", "created")})
            for chunk in _chunks(changed):
                connection.execute(update, chunk)

    def entries(
        self, dataset: Dataset, only: EntryFilter | None = None, after: int = 0, limit: int | None = None
    ) -> list[tuple[int, Entry]]:
        """(number, entry) in the order they were added, from the one after number `after`."""
        e = schema.entry.c
        conditions = () if only is None else only.conditions()
        query = sa.select(schema.entry).where(e.dataset == dataset.id, e.number > after, *conditions)
        rows = self._all(query.order_by(e.number).limit(limit))
        return [(row.number, Entry(row.source_ref, row.line, row.label, row.has_mask, row.created)) for row in rows]

    # Models

    def next_version(self, project: str) -> int:
        """Take the next version number of a project; none is ever given twice. Raises Missing."""
        p = schema.project.c
        update = schema.project.update().where(p.name == project).values(last_version=p.last_version + 1)
        with self.database.transaction() as connection:
            version = connection.execute(update.returning(p.last_version)).scalar_one_or_none()
        if version is None:
            raise Missing(f"there is no project '{project}'", "PROJECT", project)
        return int(version)

    def create_model(self, model: Model, tags: Mapping[str, str]) -> None:
        """Write a new model version with its tags."""
        self._write(schema.model.insert().values(**asdict(model)))
        self.tags.put(model.project, model.version, tags)

    def model(self, project: str, version: int | None) -> Model:
        """A model version; None means the newest. Raises Missing for the project or the model."""
        self.project(project)
        m = schema.model.c
        query = sa.select(schema.model).where(m.project == project)
        if version is not None:
            query = query.where(m.version == version)
        row = self._one(query.order_by(m.version.desc()).limit(1))
        if row is None:
            which = "a model" if version is None else f"version {version} of its model"
            raise Missing(f"project '{project}' does not have {which}", "MODEL", f"{project}/{version or 'latest'}")
        return _model(row)

    def models(self, project: str, before: int | None = None, limit: int | None = None) -> list[Model]:
        """Model versions, newest first, older than version `before`. Raises Missing for the project."""
        self.project(project)
        m = schema.model.c
        query = sa.select(schema.model).where(m.project == project)
        if before is not None:
            query = query.where(m.version < before)
        return [_model(row) for row in self._all(query.order_by(m.version.desc()).limit(limit))]

    def count_models(self, status: ModelStatus) -> int:
        """How many models are in a status, over all projects."""
        row = self._one(sa.select(sa.func.count()).where(schema.model.c.status == status))
        return int(row[0]) if row else 0

    def move_model(self, model: Model, status: ModelStatus, message: str, **values: Any) -> None:
        """Change the status, and other members with it. Raises Conflict where the present status forbids it."""
        m = schema.model.c
        allowed = origins(MODEL_TRANSITIONS, status)
        where = (m.project == model.project) & (m.version == model.version) & m.status.in_(allowed)
        changes = {"status": status, "message": message} | values
        if not self._write(schema.model.update().where(where).values(**changes)):
            raise Conflict(
                f"version {model.version} of the model in project '{model.project}' is {model.status}; "
                f"this needs {' or '.join(sorted(allowed))}",
                "MODEL",
                f"{model.project}/{model.version}",
            )

    def note_progress(self, model: Model, status: ModelStatus, message: str) -> None:
        """Tell the users of a model how far it is, while it is in this status."""
        m = schema.model.c
        where = (m.project == model.project) & (m.version == model.version) & (m.status == status)
        self._write(schema.model.update().where(where).values(message=message))

    def delete_model(self, model: Model) -> None:
        """Remove a model that is DELETING, with the units that a failed start has left."""
        m, u = schema.model.c, schema.unit.c
        where = (m.project == model.project) & (m.version == model.version) & (m.status == ModelStatus.DELETING)
        of_it = (u.project == model.project) & (u.version == model.version)
        with self.database.transaction():
            self._write(schema.unit.delete().where(of_it & sa.exists().where(where)))
            self._write(schema.model.delete().where(where))

    def _one(self, query: sa.Select[Any]) -> sa.Row[Any] | None:
        with self.database.reading() as connection:
            return connection.execute(query).first()

    def _all(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with self.database.reading() as connection:
            return connection.execute(query).all()

    def _write(self, statement: sa.Insert | sa.Update | sa.Delete) -> int:
        with self.database.transaction() as connection:
            return connection.execute(statement).rowcount

    def _dataset(self, row: sa.Row[Any]) -> Dataset:
        e, count = schema.entry.c, sa.func.count
        columns: list[Any] = [count(), count(e.label)]
        columns += [count(sa.case((e.label == label, 1))) for label in ("normal", "anomaly")]
        counts = self._one(sa.select(*columns).select_from(schema.entry).where(e.dataset == row.id))
        status = DatasetStatus(row.status)
        images = ImageCounts(*counts) if counts else ImageCounts()
        return Dataset(row.id, row.project, row.type, status, row.message, row.created, row.updated, images)


def _model(row: sa.Row[Any]) -> Model:
    values = dict(row._mapping)
    values["status"] = ModelStatus(row.status)
    values["performance"] = row.performance and Performance(**row.performance)
    for name in ("evaluation_result", "evaluation_manifest", "artefact"):
        values[name] = values[name] and Stored(**values[name])
    return Model(**values)


def _chunks(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]
