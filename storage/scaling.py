"""How many inference units a model wants, between the MinInferenceUnits and MaxInferenceUnits of its start.

A replica whose requests wait too long asks for another unit; a unit is given up once none of the model's was pressed
for the quiet time, which then begins anew. Each step is one transaction, so hosts and replicas agree on it.
"""

import logging
from datetime import timedelta
from itertools import count, groupby

import sqlalchemy as sa

from storage import schema
from storage.database import Database
from storage.records import ModelStatus, Unit, now
from storage.settings import Settings

log = logging.getLogger(__name__)


class Scaling:
    """Wants units and gives them up; claiming and releasing them is Hosting's."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._quiet = timedelta(seconds=settings.scale_down_seconds)

    def press(self, unit: Unit) -> bool:
        """Note that a unit's requests wait too long, and want another unit of its model. → whether one more is wanted

        None is where the most are wanted already, and while one is still starting: what it will relieve is not known.
        """
        m, u = schema.model.c, schema.unit.c
        of_model = (u.project == unit.project) & (u.version == unit.version)
        model = sa.select(m.status, m.max_units).where(m.project == unit.project, m.version == unit.version)
        with self._database.transaction() as connection:
            noted = schema.unit.update().where(of_model & (u.slot == unit.slot) & u.wanted).values(pressed=now())
            if not connection.execute(noted).rowcount:
                return False
            status, most = connection.execute(model).one()
            rows = connection.execute(sa.select(u.slot, u.wanted, u.address).where(of_model)).all()
            wanted = [row for row in rows if row.wanted]
            starting = any(row.address is None for row in wanted)
            if status != ModelStatus.HOSTED or starting or len(wanted) >= (most or 0):
                return False
            taken = {row.slot for row in rows}
            slot = next(number for number in count() if number not in taken)
            fresh = {"project": unit.project, "version": unit.version, "slot": slot, "wanted": True, "failures": 0}
            connection.execute(schema.unit.insert().values(**fresh, lease_until=now(), pressed=now()))
        log.info("%s/%d gets another inference unit: %d", unit.project, unit.version, len(wanted) + 1)
        return True

    def relax(self) -> None:
        """Give up one unit of every model that has more than the least and was quiet long enough."""
        if not self._relaxed():
            return
        u = schema.unit.c
        with self._database.transaction() as connection:
            for unit in self._relaxed():
                of_model = (u.project == unit.project) & (u.version == unit.version)
                given_up = schema.unit.update().where(of_model & (u.slot == unit.slot))
                connection.execute(given_up.values(wanted=False, address=None))
                connection.execute(schema.unit.update().where(of_model & u.wanted).values(pressed=now()))
                log.info("%s/%d gives up an inference unit after a quiet time", unit.project, unit.version)

    def _relaxed(self) -> list[Unit]:
        """The unit to be given up of each model that can spare one: one that does not serve, else the newest."""
        m, u = schema.model.c, schema.unit.c
        hosted = (m.project == u.project) & (m.version == u.version) & (m.status == ModelStatus.HOSTED)
        query = sa.select(schema.unit, m.min_units).join_from(schema.unit, schema.model, hosted).where(u.wanted)
        query = query.order_by(u.project, u.version, u.address.is_not(None), u.slot.desc())
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        spared = []
        for _, group in groupby(rows, key=lambda row: (row.project, row.version)):
            units = list(group)
            latest = max((row.pressed for row in units if row.pressed is not None), default=None)
            if len(units) > units[0].min_units and (latest is None or latest < now() - self._quiet):
                values = dict(units[0]._mapping)
                del values["min_units"]
                spared.append(Unit(**values))
        return spared
