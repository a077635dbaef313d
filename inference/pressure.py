"""A replica's call for help: where images wait too long, its model is to get another inference unit."""

import logging
import threading
import time

from sqlalchemy.exc import DBAPIError

from inference.batcher import Batcher
from storage.records import Unit
from storage.stores import Stores

_LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


def watch_pressure(stores: Stores, unit: Unit, batcher: Batcher) -> None:
    """Look at the waiting times from now on, in a thread that ends with the process: the catalogue may be slow."""
    threading.Thread(target=_watch, args=(stores, unit, batcher), name="pressure", daemon=True).start()


def _watch(stores: Stores, unit: Unit, batcher: Batcher) -> None:
    while True:
        time.sleep(_LOOK_SECONDS)
        if batcher.take_wait() > stores.settings.scale_up_seconds:
            try:
                stores.scaling.press(unit)
            except DBAPIError as error:
                log.warning("no inference unit can be asked for now: the catalogue says %s", error.orig)
