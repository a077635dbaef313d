"""Entry point of the inference host: `python -m inference.host`. Makes the replicas that run those that are wanted."""

import logging
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass

from inference.gpus import VISIBLE, freest
from inference.place import UNUSABLE, Place
from inference.watch import Watch
from storage import messages
from storage.database import unless_away
from storage.errors import Conflict, Missing
from storage.lifeline import die_with_parent, spawn
from storage.pulse import Pulse
from storage.records import ModelStatus, Unit
from storage.settings import Settings
from storage.stores import Stores, open_stores

ROOM = 64  # units of one host; a replica takes about 0.5 GiB, and who asks for more than fit is told by the machine
_MOST_FAILURES = 3  # in a row, before a model that is starting has failed
_LONGEST_PAUSE = 30.0  # seconds before a replica that keeps dying is started again
_STOP_SECONDS = 8.0  # between SIGTERM and SIGKILL: longer than a replica takes to answer what it has at hand
_CLEAR_SECONDS = 5.0
_POLL_SECONDS = 0.1
_ROUNDS = 4  # of other hosts, in which one of them takes a unit that is handed over
_SERVES_SECONDS = 60.0  # until it serves there

Key = tuple[str, int, int]
log = logging.getLogger(__name__)


@dataclass
class Slot:
    """A unit this host holds, and the replica process that fills it, if one runs."""

    unit: Unit
    process: subprocess.Popen[bytes] | None = None
    gpu: str | None = None
    not_before: float = 0.0
    kill_at: float | None = None


class Host:
    """Claims wanted units and keeps a replica process for each. One thread, one round at a time."""

    def __init__(self, stores: Stores, name: str) -> None:
        self._stores, self._hosting, self._name = stores, stores.hosting, name
        self._pulse = Pulse(stores.settings, "inference")
        self._watch = Watch(stores.settings.lease_seconds)
        self._slots: dict[Key, Slot] = {}
        self._keep_at = self._clear_at = 0.0

    def run(self, stopped: threading.Event) -> None:
        """Reconcile until stopped; then hand the units over to other hosts, or give them up; they stay wanted."""
        unless_away(self._stores.database.reserve)  # a full disk must not stop detection for want of a lease
        unless_away(lambda: self._hosting.forget(self._name))
        while not stopped.wait(self._stores.settings.reconcile_seconds):
            unless_away(self._round)
        unless_away(self._leave)
        self._stop_all()
        unless_away(lambda: self._hosting.forget(self._name))

    def _round(self) -> None:
        moment = time.monotonic()
        # One a round, so that hosts that start a model together share its units.
        for unit in self._hosting.claim(self._name, min(1, ROOM - len(self._slots))):
            old = self._slots.get(_key(unit))
            if old is not None and old.process is not None:
                old.process.kill()  # its lease had run out, and with it the address it was reached at
                old.process.wait()
            self._slots[_key(unit)] = Slot(unit)
        mine = {_key(unit): unit for unit in self._hosting.units(self._name)}
        for key, slot in list(self._slots.items()):
            held = mine.get(key)
            slot.unit = held or slot.unit
            if held is not None and held.wanted:
                self._fill(slot, moment)
            elif self._ended(slot, moment):
                del self._slots[key]
                self._watch.forget(slot.unit.replica)
                if held is not None:
                    self._release(held)
        self._live(moment)
        if moment >= self._clear_at:
            self._clear_at = moment + _CLEAR_SECONDS
            self._hosting.clear()
            self._stores.scaling.relax()

    def _fill(self, slot: Slot, moment: float) -> None:
        """Start the unit's replica where none runs and the pause after the last failure is over."""
        if slot.process is not None and (status := slot.process.poll()) is not None:
            slot.process = None
            self._watch.forget(slot.unit.replica)
            self._lost(slot, status, moment)
        elif slot.process is not None and self._watch.hangs(slot.unit, moment):
            log.error("the replica of %s/%d#%d does not go on and is killed", *_key(slot.unit))
            slot.process.kill()
        elif slot.process is None and moment >= slot.not_before:
            unit = slot.unit
            threads = max(1, (os.cpu_count() or 1) // len(self._slots))
            place = Place(unit.project, unit.version, unit.slot, self._name, str(uuid.uuid4()), threads)
            slot.gpu = None
            slot.gpu = freest([one.gpu for one in self._slots.values() if one.gpu and one.unit.address is None])
            slot.process = spawn("inference.replica", place.arguments(), {VISIBLE: slot.gpu} if slot.gpu else None)
            log.info("started a replica for %s/%d#%d, process %d", *_key(unit), slot.process.pid)

    def _lost(self, slot: Slot, status: int, moment: float) -> None:
        unit = slot.unit
        reason = f"signal {-status}" if status < 0 else f"exit status {status}"
        log.warning("the replica of %s/%d#%d ended: %s", *_key(unit), reason)
        try:
            failures = unit.failures
            if status != UNUSABLE:  # else it has written the reason itself
                failures = self._hosting.lost(self._name, unit, f"The replica ended with {reason}.")
            if failures >= _MOST_FAILURES:
                self._give_up(unit, f"Its replica ended {failures} times in a row, last with {reason}")
        except Conflict as error:
            log.info("%s", error)
        slot.not_before = moment + min(_LONGEST_PAUSE, 2.0 ** (max(failures, 1) - 1))

    def _give_up(self, unit: Unit, reason: str) -> None:
        model = self._stores.catalogue.model(unit.project, unit.version)
        if model.status == ModelStatus.STARTING_HOSTING:
            self._hosting.fail(model, messages.not_hosted(f"{reason}; the inference host's log tells more."))

    def _ended(self, slot: Slot, moment: float) -> bool:
        """Ask the replica to stop, then make it. → whether it is gone"""
        if slot.process is None or slot.process.poll() is not None:
            return True
        if slot.kill_at is None:
            slot.kill_at = moment + _STOP_SECONDS
            slot.process.terminate()
        elif moment >= slot.kill_at:
            slot.process.kill()
        return False

    def _release(self, unit: Unit) -> None:
        try:
            self._hosting.release(self._name, unit)
        except (Conflict, Missing) as error:
            log.info("%s", error)

    def _live(self, moment: float) -> None:
        self._pulse.beat()
        if moment < self._keep_at:
            return
        self._keep_at = moment + self._stores.settings.heartbeat_seconds
        for slot in self._slots.values():
            try:
                self._hosting.keep(self._name, slot.unit)
            except Conflict as error:
                log.info("%s", error)  # the next round sees that it is not ours, and stops its replica

    def _leave(self) -> None:
        """Hand over what serves here, one unit after another, as long as another host takes them."""
        for key, slot in list(self._slots.items()):
            try:
                heir = self._hosting.hand_over(self._name, slot.unit)
                if heir is None:
                    continue
                if not self._served(heir):
                    self._hosting.withdraw(heir)
                    log.info("no other host takes over, so replicas end here and start where the next one is")
                    return
                self._hosting.retire(self._name, slot.unit)
                log.info("%s/%d#%d is handed over", *key)
            except (Conflict, Missing) as error:
                log.info("%s", error)
                continue
            while not self._ended(slot, time.monotonic()):
                time.sleep(_POLL_SECONDS)
            self._release(slot.unit)
            del self._slots[key]

    def _served(self, heir: Unit) -> bool:
        """Wait until another host serves the unit. → whether one does"""
        begun = time.monotonic()
        while True:
            moment = time.monotonic()
            self._live(moment)
            now = next((unit for unit in self._hosting.units() if _key(unit) == _key(heir)), None)
            if now is None or now.failures or moment > begun + _SERVES_SECONDS:
                return False
            if now.address is not None:
                return True
            if now.host is None and moment > begun + _ROUNDS * self._stores.settings.reconcile_seconds:
                return False
            time.sleep(_POLL_SECONDS)

    def _stop_all(self) -> None:
        while left := [slot for slot in self._slots.values() if not self._ended(slot, time.monotonic())]:
            log.info("waiting for %d replicas to end", len(left))
            time.sleep(_POLL_SECONDS)


def _key(unit: Unit) -> Key:
    return unit.project, unit.version, unit.slot


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s inference %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for every look at a replica
    settings = Settings()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    name = settings.host_id or socket.gethostname()
    if settings.ray_address is None:
        Host(open_stores(settings), name).run(stopped)
    else:
        from inference.cluster import Cluster  # needs Ray, which is optional

        Cluster(open_stores(settings), name).run(stopped)


if __name__ == "__main__":
    main()
