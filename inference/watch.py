"""Whether replicas go on: asked over HTTP by the host, since a process can live and do nothing."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from storage.records import Unit
from storage.replica_call import Figures

_OFTEN = 15  # times in the time that a replica may be silent
_MOST = 8  # replicas asked at the same time

log = logging.getLogger(__name__)


@dataclass
class _Heard:
    """When a replica last went on, and the question under way."""

    last: float
    asked: float = 0.0
    answer: "Future[bool] | None" = field(default=None, repr=False)


class Watch:
    """Remembers when each replica last answered that it goes on; `silence` are the seconds it may not."""

    def __init__(self, silence: float) -> None:
        self._silence, self._heard = silence, dict[str, _Heard]()
        self._client = httpx.Client(timeout=silence / _OFTEN, trust_env=False)
        self._threads = ThreadPoolExecutor(_MOST, thread_name_prefix="watch")

    def hangs(self, unit: Unit, moment: float) -> bool:
        """Whether the unit's replica has not gone on for too long; asks it again now and then, and never waits.

        A replica that takes no requests yet does not hang: loading a model may take long.
        """
        if unit.replica is None or unit.address is None:
            return False
        heard = self._heard.setdefault(unit.replica, _Heard(moment))
        if heard.answer is not None and heard.answer.done():
            if heard.answer.result():
                heard.last = moment
            heard.answer = None
        if heard.answer is None and moment - heard.asked >= self._silence / _OFTEN:
            heard.asked = moment
            heard.answer = self._threads.submit(self._goes_on, unit.replica, unit.address)
        return moment - heard.last > self._silence

    def forget(self, replica: str | None) -> None:
        """The replica is gone."""
        if replica is not None:
            self._heard.pop(replica, None)

    def _goes_on(self, replica: str, address: str) -> bool:
        try:
            figures: Figures = self._client.get(f"http://{address}/{replica}/health").raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            log.info("replica %s did not tell how it is: %r", replica, error)
            return False
        return figures["stalled"] <= self._silence
