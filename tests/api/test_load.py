"""How requests are spread over replicas, and what is spared them."""

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from storage.stores import Stores
from tests.api.raw import API, Raw
from tests.api.refusals import assert_refused
from tests.api.replica_server import JPEG, RESULT, Replica, detect, host, well
from tests.conftest import wait_until


def test_the_times_of_a_replica_are_passed_on(lookout: Any, stores: Stores, project: str, replica: Any) -> None:
    told = "queue;dur=0.1, decode;dur=2.0, score;dur=20.5"
    host(stores, project, replica(lambda request: request.answer(200, RESULT, {"Server-Timing": told})))
    answer = lookout.detect_anomalies(ProjectName=project, ModelVersion="1", Body=JPEG, ContentType="image/jpeg")
    assert answer["ResponseMetadata"]["HTTPHeaders"]["server-timing"] == told


def test_connections_to_a_replica_are_kept(lookout: Any, stores: Stores, project: str, replica: Any) -> None:
    server = replica(well)
    host(stores, project, server)
    for _ in range(3):
        detect(lookout, project)
    assert len({asked.client_address for asked in server.asked}) == 1


def test_a_request_whose_client_left_is_given_up(raw: Raw, stores: Stores, project: str, replica: Any) -> None:
    given_up = threading.Event()

    def waits(request: Replica) -> None:
        assert request.rfile.read() == b"", "the API sends nothing more, and closes the connection"
        given_up.set()
        request.close_connection = True

    server = replica(waits)
    host(stores, project, server)
    path = f"{API}/projects/{project}/models/1/detect"
    headers = raw.sign("POST", path, JPEG, {"Content-Type": "image/jpeg"})
    connection = http.client.HTTPConnection(urlsplit(raw.endpoint).netloc, timeout=30)
    connection.request("POST", path, JPEG, headers)
    wait_until(lambda: server.asked, 30, "the request to arrive")
    assert not given_up.is_set()
    connection.close()
    assert given_up.wait(30)


def test_no_image_travels_to_a_replica_that_is_known_to_be_full(fresh: Any, replica: Any) -> None:
    service = fresh(replica_queue=2)
    service.lookout.create_project(ProjectName="p")
    release = threading.Event()

    def slow(request: Replica) -> None:
        release.wait(30)
        well(request)

    server = replica(slow)
    host(service.stores, "p", server)
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(detect, service.lookout, "p") for _ in range(2)]
        wait_until(lambda: len(server.asked) == 2, 30, "both to arrive")
        with assert_refused("ThrottlingException", "are busy") as error:
            detect(service.lookout, "p")
        release.set()
        assert all(answer.result(30)["IsAnomalous"] for answer in answers)
    assert error["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    assert len(server.asked) == 2


def test_the_replica_with_the_fewest_requests_in_flight_is_asked_first(
    lookout: Any, stores: Stores, project: str, replica: Any
) -> None:
    release = threading.Event()

    def slow(request: Replica) -> None:
        release.wait(30)
        well(request)

    servers = [replica(slow), replica(slow), replica(slow)]
    host(stores, project, *servers)
    with ThreadPoolExecutor(6) as pool:
        answers = []
        for number in range(1, 7):
            answers.append(pool.submit(detect, lookout, project))
            wait_until(lambda n=number: sum(len(s.asked) for s in servers) == n, 30, "the request to arrive")
        spread = [len(server.asked) for server in servers]
        release.set()
        assert all(answer.result(30)["IsAnomalous"] for answer in answers)
    assert spread == [2, 2, 2]
    detect(lookout, project)
    assert [len(server.asked) for server in servers] == [3, 2, 2], "idle again, the first is asked"
