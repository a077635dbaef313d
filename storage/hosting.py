"""Hosting: the inference units wanted for each model, and the replicas that fill them.

A unit is one row. The API writes what is wanted; an inference host claims units under a lease and starts a replica for
each; the replica's address goes into the row once it takes requests. A host that dies loses its units to another one; a
host that leaves hands them over: another unit succeeds each, and serves before it is retired.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from storage import messages, schema
from storage.catalogue import Catalogue
from storage.errors import Conflict, Missing
from storage.records import Model, ModelStatus, Serving, Unit, now
from storage.settings import Settings


class Hosting:
    """Wanted units and their replicas. Joins the catalogue's open transaction."""

    def __init__(self, catalogue: Catalogue, settings: Settings) -> None:
        self._catalogue = catalogue
        self._database = catalogue.database
        self._lease = timedelta(seconds=settings.lease_seconds)

    def start(self, model: Model, min_units: int, max_units: int | None) -> None:
        """Want `min_units` replicas of a trained model. Raises Conflict where its status forbids it."""
        with self._database.transaction() as connection:
            self._catalogue.move_model(
                model, ModelStatus.STARTING_HOSTING, messages.MODEL_STARTING, min_units=min_units, max_units=max_units
            )
            connection.execute(schema.unit.delete().where(self._of(model)))
            row = {"project": model.project, "version": model.version, "wanted": True, "failures": 0}
            rows = [{**row, "slot": slot, "lease_until": now()} for slot in range(min_units)]
            connection.execute(schema.unit.insert(), rows)

    def stop(self, model: Model) -> None:
        """Want no replica any more. Raises Conflict where the model's status forbids it."""
        with self._database.transaction() as connection:
            self._catalogue.move_model(model, ModelStatus.STOPPING_HOSTING, messages.MODEL_STOPPING)
            unwanted = schema.unit.update().where(self._of(model)).values(wanted=False, address=None)
            if not connection.execute(unwanted).rowcount:
                self._settle(model.project, model.version)

    def fail(self, model: Model, reason: str) -> None:
        """Give up starting a model: HOSTING_FAILED with the reason, and no unit is wanted any more."""
        with self._database.transaction() as connection:
            self._catalogue.move_model(model, ModelStatus.HOSTING_FAILED, reason)
            connection.execute(schema.unit.update().where(self._of(model)).values(wanted=False, address=None))

    def addresses(self, project: str, version: int) -> list[tuple[str, str]]:
        """(replica, address) of the replicas that take requests now."""
        u = schema.unit.c
        where = (u.project == project) & (u.version == version) & _ready()
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(u.replica, u.address).where(where).order_by(u.slot))
            return [(row.replica, row.address) for row in rows]

    def serving(self, project: str, version: int | None) -> Serving:
        """What a detection needs to know of a model, in one query; None means the newest version. Raises Missing."""
        m, u = schema.model.c, schema.unit.c
        of_it = (u.project == m.project) & (u.version == m.version) & _ready()
        newest = sa.select(sa.func.max(m.version)).where(m.project == project).scalar_subquery()
        query = sa.select(m.version, m.status, u.replica, u.address).outerjoin_from(schema.model, schema.unit, of_it)
        query = query.where(m.project == project, m.version == (newest if version is None else version))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(u.slot)).all()
        if not rows:
            model = self._catalogue.model(project, version)  # which tells what is missing
            return Serving(project, model.version, model.status, ())
        replicas = tuple((row.replica, row.address) for row in rows if row.address is not None)
        return Serving(project, rows[0].version, ModelStatus(rows[0].status), replicas)

    def units(self, host: str | None = None) -> list[Unit]:
        """All units, or those that a host holds."""
        query = sa.select(schema.unit)
        if host is not None:
            query = query.where(schema.unit.c.host == host)
        with self._database.reading() as connection:
            return [Unit(**row._mapping) for row in connection.execute(query)]

    def claim(self, host: str, room: int) -> list[Unit]:
        """Take up to `room` wanted units that no living host holds."""
        u = schema.unit.c
        moment = now()
        taken: list[Unit] = []
        free = u.wanted & (u.lease_until <= moment) & ~_succeeded()
        with self._database.transaction() as connection:
            for row in connection.execute(sa.select(schema.unit).where(free).limit(room)).all():
                where = self._same(row) & free
                changes = {"host": host, "replica": None, "address": None, "lease_until": moment + self._lease}
                if connection.execute(schema.unit.update().where(where).values(changes)).rowcount:
                    taken.append(Unit(**{**row._mapping, **changes}))
        return taken

    def keep(self, host: str, unit: Unit) -> None:
        """Extend the host's lease on a unit. Raises Conflict where it is no longer the host's."""
        self._update(host, unit, lease_until=now() + self._lease)

    def forget(self, host: str) -> None:
        """Give up all that a host of this name holds: called when it starts, since its replicas died with it."""
        u = schema.unit.c
        with self._database.transaction() as connection:
            connection.execute(
                schema.unit.update().where(u.host == host).values(lease_until=now(), replica=None, address=None)
            )

    def ready(self, host: str, unit: Unit, replica: str, address: str) -> None:
        """A replica takes requests. With enough of them the model is HOSTED."""
        with self._database.transaction():
            self._update(host, unit, replica=replica, address=address, failures=0, failure=None)
            self._settle(unit.project, unit.version)

    def hand_over(self, host: str, unit: Unit) -> Unit | None:
        """Want a unit in the place of one that serves here, which is SYSTEM_UPDATING until that one serves.

        → the unit to come; None where the host's does not serve or the model is about to stop. Raises Missing.
        """
        with self._database.transaction() as connection:
            model = self._catalogue.model(unit.project, unit.version)
            mine = self._same(unit) & (schema.unit.c.host == host) & _ready()
            serves = connection.execute(sa.select(schema.unit).where(mine)).first()
            if serves is None or model.status not in (ModelStatus.HOSTED, ModelStatus.SYSTEM_UPDATING):
                return None
            if model.status == ModelStatus.HOSTED:
                self._catalogue.move_model(model, ModelStatus.SYSTEM_UPDATING, messages.MODEL_UPDATING)
            last = connection.execute(sa.select(sa.func.max(schema.unit.c.slot)).where(self._of(model))).scalar_one()
            heir = replace(
                unit, slot=last + 1, succeeds=unit.slot, lease_until=now(), host=None, replica=None, address=None
            )
            connection.execute(schema.unit.insert(), vars(heir))
        return heir

    def retire(self, host: str, unit: Unit) -> None:
        """A unit that another one succeeds is wanted no more. Raises Conflict where it is no longer the host's."""
        self._update(host, unit, wanted=False, address=None)

    def withdraw(self, unit: Unit) -> None:
        """A unit that was to succeed another is wanted no more: no host has taken it, or it cannot serve there."""
        with self._database.transaction() as connection:
            held = self._same(unit) & schema.unit.c.succeeds.is_not(None) & (schema.unit.c.lease_until > now())
            unwanted = schema.unit.update().where(held).values(wanted=False, address=None, succeeds=None)
            if connection.execute(unwanted).rowcount:
                self._settle(unit.project, unit.version)
            else:
                self._delete(connection, unit, schema.unit.c.succeeds.is_not(None))

    def lost(self, host: str, unit: Unit, reason: str) -> int:
        """A replica ended on its own. → how many times in a row that happened before one was ready"""
        self._update(host, unit, replica=None, address=None, failures=unit.failures + 1, failure=reason)
        return unit.failures + 1

    def release(self, host: str, unit: Unit) -> None:
        """An unwanted unit has no replica any more. With the last one gone the model is TRAINED again."""
        with self._database.transaction() as connection:
            unwanted = (schema.unit.c.host == host) & schema.unit.c.wanted.is_(False)
            self._delete(connection, unit, unwanted)

    def clear(self) -> None:
        """Drop units that no living host holds and that are unwanted or succeeded, and settle the models of theirs."""
        u = schema.unit.c
        dead = (u.wanted.is_(False) | _succeeded()) & (u.lease_until <= now())
        with self._database.reading() as connection:
            rows = [Unit(**row._mapping) for row in connection.execute(sa.select(schema.unit).where(dead))]
        for unit in rows:
            with self._database.transaction() as connection:
                self._delete(connection, unit, dead)

    def _delete(self, connection: sa.Connection, unit: Unit, where: sa.ColumnElement[bool]) -> None:
        u = schema.unit.c
        if connection.execute(schema.unit.delete().where(self._same(unit) & where)).rowcount:
            heirs = (u.project == unit.project) & (u.version == unit.version) & (u.succeeds == unit.slot)
            connection.execute(schema.unit.update().where(heirs).values(succeeds=None))
        self._settle(unit.project, unit.version)

    def _settle(self, project: str, version: int) -> None:
        try:
            model = self._catalogue.model(project, version)
        except Missing:
            return  # deleted after a start that failed: nothing is left to settle
        if model.status == ModelStatus.STARTING_HOSTING:
            if len(self.addresses(model.project, model.version)) >= (model.min_units or 1):
                self._catalogue.move_model(model, ModelStatus.HOSTED, messages.MODEL_RUNNING)
        elif model.status == ModelStatus.SYSTEM_UPDATING:
            if not self._any(self._of(model) & schema.unit.c.succeeds.is_not(None)):
                self._catalogue.move_model(model, ModelStatus.HOSTED, messages.MODEL_RUNNING)
        elif model.status == ModelStatus.STOPPING_HOSTING and not self._any(self._of(model)):
            self._catalogue.move_model(
                model, ModelStatus.TRAINED, messages.MODEL_TRAINED, min_units=None, max_units=None
            )

    def _any(self, where: sa.ColumnElement[bool]) -> bool:
        with self._database.reading() as connection:
            return connection.execute(sa.select(schema.unit.c.slot).where(where).limit(1)).first() is not None

    def _update(self, host: str, unit: Unit, **values: Any) -> None:
        with self._database.transaction() as connection:
            where = self._same(unit) & (schema.unit.c.host == host)
            if not connection.execute(schema.unit.update().where(where).values(**values)).rowcount:
                raise Conflict(
                    f"unit {unit.slot} of {unit.project}/{unit.version} is no longer held by {host}",
                    "MODEL",
                    f"{unit.project}/{unit.version}",
                )

    @staticmethod
    def _of(model: Model) -> sa.ColumnElement[bool]:
        return (schema.unit.c.project == model.project) & (schema.unit.c.version == model.version)

    @staticmethod
    def _same(unit: Any) -> sa.ColumnElement[bool]:
        u = schema.unit.c
        return sa.and_(u.project == unit.project, u.version == unit.version, u.slot == unit.slot)


def _succeeded() -> sa.ColumnElement[bool]:
    """Whether another unit is to come, or has come, in a unit's place."""
    u, heir = schema.unit.c, schema.unit.alias("heir")
    where = (heir.c.project == u.project) & (heir.c.version == u.version) & (heir.c.succeeds == u.slot)
    return sa.exists().where(where).correlate(schema.unit)


def _ready() -> sa.ColumnElement[bool]:
    """Whether a unit takes requests now."""
    u = schema.unit.c
    return u.wanted & u.address.is_not(None) & (u.lease_until > now())
