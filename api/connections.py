"""Kept-alive HTTP connections to the replicas: one request after the other on each, and nothing that costs time.

A general client (httpx) takes 1 ms of CPU time a request, as much as all else that the API does for a detection. What
replicas speak is HTTP/1.1 with a Content-Length; an answer of another form counts as none.
"""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from storage.replica_call import KEEP_ALIVE_SECONDS

_CONNECT_SECONDS, _ANSWER_SECONDS = 2.0, 60.0
_LARGEST_HEAD = 65_536
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})[ \r]")


class ConnectionLost(Exception):
    """No answer came: nobody listens, the connection ended, or what came is no answer of a replica."""


@dataclass(frozen=True)
class Response:
    """Headers by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """Connections by address (host:port), as many as there are requests at once; idle ones are kept for a while."""

    def __init__(self) -> None:
        self._idle: defaultdict[str, list[_Connection]] = defaultdict(list)

    async def ask(
        self,
        method: str,
        address: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = _ANSWER_SECONDS,
    ) -> Response:
        """The answer to a request. One that is cancelled ends its connection. Raises ConnectionLost."""
        given = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n{given}\r\n"
        connection = self._kept(address) or await _connect(address)
        try:
            async with asyncio.timeout(seconds):
                response = await connection.ask(head.encode("latin-1"), body)
        except TimeoutError:
            raise ConnectionLost(f"no answer within {seconds:g} s") from None
        finally:
            if connection.reusable:
                self._idle[address].append(connection)
            else:
                connection.close()
        return response

    def close(self) -> None:
        """Close those that are idle."""
        for connection in [connection for idle in self._idle.values() for connection in idle]:
            connection.close()
        self._idle.clear()

    def _kept(self, address: str) -> "_Connection | None":
        # The one used last: the others grow old, and go. Those to replicas that went are closed by the other side.
        moment = time.monotonic()
        for known in [known for known, idle in self._idle.items() if not idle or idle[-1].stale(moment)]:
            for connection in self._idle.pop(known):
                connection.close()
        idle = self._idle.get(address, [])
        while idle:
            connection = idle.pop()
            if connection.reusable and not connection.stale(moment):
                return connection
            connection.close()
        return None


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.reusable = False
        self._since = 0.0
        self._received = bytearray()
        self._head: tuple[int, dict[str, str], int] | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._transport: asyncio.Transport | None = None

    async def ask(self, head: bytes, body: bytes) -> Response:
        """Send a request and wait. Raises ConnectionLost."""
        self._answer = asyncio.get_running_loop().create_future()
        self.reusable = False
        if self._transport is None or self._transport.is_closing():
            raise ConnectionLost("the connection has ended")
        self._transport.write(head)
        if body:
            self._transport.write(body)  # on its own: joined to the head it would be copied
        return await self._answer

    def stale(self, moment: float) -> bool:
        """Whether it is idle for so long that the replica may close it any moment."""
        return moment - self._since > KEEP_ALIVE_SECONDS

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # of create_connection, which makes these

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            self._head = self._head or self._take_head()
        except (ValueError, KeyError) as error:
            self._lose(f"what came is no answer of a replica ({error})")
            return
        if self._head is None:
            return
        status, headers, length = self._head
        if len(self._received) < length:
            return
        surplus, closing = len(self._received) > length, headers.get("connection", "").lower() == "close"
        response = Response(status, headers, bytes(self._received[:length]))
        self._head, self._received, self._since = None, bytearray(), time.monotonic()
        if self._answer is None or self._answer.done():  # nobody asked
            self.close()
            return
        self.reusable = not surplus and not closing
        self._answer.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(str(exc or "the connection ended before the answer did"))

    def _take_head(self) -> tuple[int, dict[str, str], int] | None:
        """Status, headers and the length of the body, once all of the head is there."""
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            if len(self._received) > _LARGEST_HEAD:
                raise ValueError("its head does not end")
            return None
        first, *lines = bytes(self._received[:end]).split(b"\r\n")
        status = _STATUS.match(first + b"\r")
        if status is None:
            raise ValueError("its first line is no status")
        pairs = (line.decode("latin-1").partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        del self._received[: end + 4]
        return int(status[1]), headers, int(headers["content-length"])

    def _lose(self, why: str) -> None:
        self.reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionLost(why))
        self.close()


async def _connect(address: str) -> _Connection:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Connection, host.strip("[]"), int(port))
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise ConnectionLost(f"nobody is reached at {address}: {error}") from error
    return connection
