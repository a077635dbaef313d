"""The load generator, in a process of its own: sends images and writes down what came back, and when.

`python -m tests.benchmarks.serving.generator JOB.json ANSWER.json`; the job is a Load. SIGUSR1 moves on to the next of
its paths, SIGTERM ends it early. It speaks HTTP by itself, since on a machine with two cores a client such as httpx
takes a good part of what the service could have used: 1 ms of CPU time for a 100 KB image, this one a tenth of that.
"""

import asyncio
import hashlib
import json
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from api.signature import sign
from tests.benchmarks.serving.load import Load, Row

_RESIGN_SECONDS = 120.0  # a signature in a header is good for five minutes
_ANSWER_SECONDS = 60.0
_REFUSED_PAUSE = 0.1  # of a client that waits for its answers and was told that too many wait
_MOST_AT_ONCE = 2000  # requests on their way: more are counted as lost, not sent
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TIMING = re.compile(rb"(queue|decode|score);dur=([\d.]+)")


class _Lost(Exception):
    """The connection ended before the answer did. `begun`: some of it had come."""

    def __init__(self, begun: bool) -> None:
        super().__init__()
        self.begun = begun


class _Connection(asyncio.Protocol):
    """A kept-alive connection that carries one request at a time."""

    def __init__(self) -> None:
        self.open, self.used = True, False
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    async def ask(self, request: tuple[bytes, bytes]) -> bytes:
        """The head of the answer. Raises _Lost."""
        if not self.open or self._transport is None:
            raise _Lost(begun=False)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._received, 0, end + 2)
        if length is not None and len(self._received) >= end + 4 + int(length[1]):
            head, self._received, self.used = bytes(self._received[:end]), bytearray(), True
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(head)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(_Lost(begun=bool(self._received)))


class _Generator:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._bodies = [Path(name).read_bytes() for name in load.images]
        self._path = 0
        self._requests: dict[tuple[int, int], tuple[float, tuple[bytes, bytes]]] = {}
        self._idle: list[_Connection] = []
        self._on_their_way = self._next_image = 0
        self._ended = asyncio.Event()
        self.rows: list[Row] = []

    async def run(self) -> float:
        """Send everything and wait for the answers. → the moment of the beginning (s since 1970)"""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ended.set)
        loop.add_signal_handler(signal.SIGUSR1, self._move)
        for image in range(len(self._bodies)):  # signed before the clock runs
            self._request(image)
        self._zero = time.monotonic()
        began = time.time()
        if self._load.rate is not None:
            await self._at_its_rate(self._load.rate)
        else:
            await asyncio.gather(*(self._one_after_another() for _ in range(self._load.clients)))
        return began

    def _move(self) -> None:
        self._path = min(self._path + 1, len(self._load.paths) - 1)
        self._requests.clear()

    async def _at_its_rate(self, rate: float) -> None:
        sent = set()
        for due in _arrivals(self._load, rate):
            try:
                await asyncio.wait_for(self._ended.wait(), max(0.0, due - self._now()))
                break
            except TimeoutError:
                task = asyncio.ensure_future(self._send(due))
                sent.add(task)
                task.add_done_callback(sent.discard)
        if sent:
            await asyncio.wait(sent)

    async def _one_after_another(self) -> None:
        while not self._ended.is_set() and self._now() < self._load.seconds and len(self.rows) < self._load.requests:
            status = await self._send(self._now())
            if status != 200:
                await asyncio.sleep(_REFUSED_PAUSE)

    async def _send(self, due: float) -> int:
        if self._on_their_way >= _MOST_AT_ONCE:
            self.rows.append(Row(due, self._now(), 0, 0, 0, 0))
            return 0
        image = self._next_image
        self._next_image = (image + 1) % len(self._bodies)
        self._on_their_way += 1
        try:
            head = await asyncio.wait_for(self._ask(self._request(image)), _ANSWER_SECONDS)
            status = int(head[9:12])
            times = {name: float(value) for name, value in _TIMING.findall(head)}
        except (_Lost, OSError, TimeoutError, ValueError):
            status, times = 0, {}
        finally:
            self._on_their_way -= 1
        steps = (times.get(name, 0.0) / 1000 for name in (b"queue", b"decode", b"score"))
        self.rows.append(Row(due, self._now(), status, *steps))
        return status

    async def _ask(self, request: tuple[bytes, bytes]) -> bytes:
        while True:
            connection = await self._connection()
            fresh = not connection.used
            try:
                head = await connection.ask(request)
            except _Lost as lost:
                # A server may close a connection that was idle just when it is used: every client then tries again.
                if lost.begun or fresh:
                    raise
            except asyncio.CancelledError:
                connection.close()
                raise
            else:
                if b"connection: close" in head.lower():
                    connection.close()
                else:
                    self._idle.append(connection)
                return head

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        host, port = self._load.address
        _, made = await asyncio.get_running_loop().create_connection(_Connection, host, port)
        return made

    def _request(self, image: int) -> tuple[bytes, bytes]:
        signed, request = self._requests.get((self._path, image), (-_RESIGN_SECONDS, (b"", b"")))
        if time.monotonic() - signed > _RESIGN_SECONDS or not request[0]:
            request = self._signed(self._load.paths[self._path], self._bodies[image])
            self._requests[self._path, image] = time.monotonic(), request
        return request

    def _signed(self, path: str, body: bytes) -> tuple[bytes, bytes]:
        host = "{}:{}".format(*self._load.address)
        headers = {"content-type": "image/jpeg"}
        if self._load.key is None:
            headers["host"] = host
        else:
            headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
            headers = sign("POST", host, path, "", headers, body, self._load.key, self._load.region)
        headers["content-length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode(), body

    def _now(self) -> float:
        return time.monotonic() - self._zero


def _arrivals(load: Load, rate: float) -> Iterator[float]:
    draw, due = random.Random(load.seed), 0.0  # noqa: S311 - reproducible, not secret
    for _ in range(load.requests):
        due += draw.expovariate(rate) if load.poisson else 1 / rate
        if due > load.seconds:
            return
        yield due


def main() -> None:
    """Do the job that the command line names."""
    generator = _Generator(Load.parse(Path(sys.argv[1]).read_text()))
    began = asyncio.run(generator.run())
    answer = {"began": began, "cpu": time.process_time(), "rows": generator.rows}
    Path(sys.argv[2]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
