"""Small HTTP servers that behave like replicas, well or badly."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from storage.stores import Stores
from tests.api import arrange

JPEG = b"\xff\xd8\xff\xe0" + b"jpeg"
RESULT = {"DetectAnomalyResult": {"Source": {"Type": "direct"}, "IsAnomalous": True, "Confidence": 0.9979099631309509}}
FIGURES = {"replica": "…", "waiting": 3, "batches": 4, "images": 10, "device_memory": 1e9, "stalled": 0.0}
Behaviour = Callable[["Replica"], None]


class Replica(BaseHTTPRequestHandler):
    """Answers as the behaviour of its server says, and notes what it was asked."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_POST(self) -> None:
        self.image = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self)
        self.server.behaviour(self)

    def do_GET(self) -> None:
        self.answer(200, FIGURES)

    def answer(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(content, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """One replica."""

    daemon_threads = True

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Replica)
        self.behaviour, self.asked = behaviour, []

    asked: list[Replica]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def running(behaviour: Behaviour) -> Iterator[Server]:
    with Server(behaviour) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def well(replica: Replica) -> None:
    replica.answer(200, RESULT, {"X-Vigil-Anomalous": "true"})


def host(stores: Stores, project: str, *servers: Server | str) -> None:
    """The project's model 1 is hosted by these, asked in this order while all are idle."""
    addresses = [server if isinstance(server, str) else server.address for server in servers]
    arrange.hosted(stores, project, {f"{project}-{n}": address for n, address in enumerate(addresses)})


def detect(lookout: Any, project: str) -> Any:
    answer = lookout.detect_anomalies(ProjectName=project, ModelVersion="1", Body=JPEG, ContentType="image/jpeg")
    return answer["DetectAnomalyResult"]
