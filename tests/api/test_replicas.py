"""DetectAnomalies over replicas that behave well or badly."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from storage.hosting import Hosting
from storage.stores import Stores
from tests.api.raw import Raw
from tests.api.refusals import assert_refused
from tests.api.replica_server import JPEG, RESULT, Behaviour, Replica, detect, host, well


def full(replica: Replica) -> None:
    replica.answer(503, {"message": "full"})


def another_model(replica: Replica) -> None:
    replica.answer(421, {"message": "not mine"})


def refuses_the_image(replica: Replica) -> None:
    replica.answer(422, {"message": "the image is 20000 pixels wide; at most 4096 are allowed"})


def fails(replica: Replica) -> None:
    replica.answer(500, {"message": "out of memory"})


def redirects(replica: Replica) -> None:
    replica.answer(307, {}, {"Location": "/elsewhere/detect"})


def dies_before_the_answer(replica: Replica) -> None:
    replica.close_connection = True


def dies_in_mid_answer(replica: Replica) -> None:
    replica.send_response(200)
    replica.send_header("Content-Length", "1000")
    replica.end_headers()
    replica.wfile.write(b'{"DetectAnomalyResult":')
    replica.close_connection = True


def answers_without_a_length(replica: Replica) -> None:
    replica.send_response(200)
    replica.end_headers()
    replica.wfile.write(json.dumps(RESULT).encode())
    replica.close_connection = True


def answers_nonsense(replica: Replica) -> None:
    replica.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    replica.close_connection = True


def answers_without_an_end(replica: Replica) -> None:
    replica.wfile.write(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000)
    replica.rfile.read()
    replica.close_connection = True


def test_the_answer_of_a_replica_is_passed_on_byte_for_byte(
    raw: Raw, stores: Stores, project: str, replica: Any
) -> None:
    server = replica(well)
    host(stores, project, server)
    headers = {"Content-Type": "image/JPEG; q=1", "X-Vigil-Explain": "map"}
    answer = raw("POST", f"/projects/{project}/models/latest/detect", JPEG, headers)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.body == json.dumps(RESULT, separators=(",", ":")).encode()
    [asked] = server.asked
    assert (asked.path, asked.image) == (f"/{project}-0/detect", JPEG)
    assert (asked.headers["Content-Type"], asked.headers["X-Vigil-Explain"]) == ("image/jpeg", "map")


def test_a_large_image_arrives_whole(raw: Raw, stores: Stores, project: str, replica: Any) -> None:
    server = replica(well)
    host(stores, project, server)
    image = JPEG + bytes(range(256)) * 20_000
    answer = raw("POST", f"/projects/{project}/models/latest/detect", image, {"Content-Type": "image/jpeg"})
    assert answer.status == 200
    [asked] = server.asked
    assert asked.image == image


def test_a_proxy_of_the_environment_is_not_asked(fresh: Any, replica: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service, server, proxy = fresh(replica_wait_seconds=0.3), replica(well), replica(well)
    service.lookout.create_project(ProjectName="p")
    host(service.stores, "p", server)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
    assert detect(service.lookout, "p")["IsAnomalous"] is True
    assert (len(server.asked), len(proxy.asked)) == (1, 0)


def test_the_client_reads_the_answer(lookout: Any, stores: Stores, project: str, replica: Any) -> None:
    host(stores, project, replica(well))
    assert detect(lookout, project) == RESULT["DetectAnomalyResult"]


UNUSABLE = [
    dies_before_the_answer,
    dies_in_mid_answer,
    another_model,
    full,
    answers_without_a_length,
    answers_nonsense,
    answers_without_an_end,
]


@pytest.mark.parametrize("bad", UNUSABLE)
def test_the_next_replica_is_asked_instead(
    lookout: Any, stores: Stores, project: str, replica: Any, bad: Behaviour
) -> None:
    first, second = replica(bad), replica(well)
    host(stores, project, first, second)
    assert detect(lookout, project)["IsAnomalous"] is True
    assert (len(first.asked), len(second.asked)) == (1, 1)


def test_the_next_replica_is_asked_where_nobody_listens(
    lookout: Any, stores: Stores, project: str, replica: Any
) -> None:
    server = replica(well)
    host(stores, project, "127.0.0.1:1", server)
    assert detect(lookout, project)["IsAnomalous"] is True


def test_an_answer_in_pieces_is_put_together(lookout: Any, stores: Stores, project: str, replica: Any) -> None:
    def in_pieces(request: Replica) -> None:
        body = json.dumps(RESULT).encode()
        for piece in (b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: %d\r\n\r" % len(body), b"\n" + body[:9], body[9:]):
            request.wfile.write(piece)
            request.wfile.flush()

    server = replica(in_pieces)
    host(stores, project, server)
    for _ in range(2):
        assert detect(lookout, project) == RESULT["DetectAnomalyResult"]
    assert len({asked.client_address for asked in server.asked}) == 1


def test_a_connection_that_a_replica_has_closed_is_not_used_again(
    lookout: Any, stores: Stores, project: str, replica: Any
) -> None:
    def once(request: Replica) -> None:
        request.answer(200, RESULT, {"Connection": "close"})
        request.close_connection = True

    server = replica(once)
    host(stores, project, server)
    for _ in range(3):
        assert detect(lookout, project)["IsAnomalous"] is True
    assert len({asked.client_address for asked in server.asked}) == 3


def test_a_replica_that_takes_the_place_of_another_is_found_at_once(
    lookout: Any, stores: Stores, project: str, replica: Any
) -> None:
    first, second = replica(well), replica(well)
    host(stores, project, first)
    detect(lookout, project)
    first.behaviour = dies_before_the_answer
    [unit] = [unit for unit in stores.hosting.units() if unit.project == project]
    stores.hosting.ready(str(unit.host), unit, "new", second.address)
    assert detect(lookout, project)["IsAnomalous"] is True
    assert [len(first.asked), len(second.asked)] == [2, 1]


def test_all_full_is_throttling_with_a_time_to_wait(lookout: Any, stores: Stores, project: str, replica: Any) -> None:
    servers = [replica(full), replica(full)]
    host(stores, project, *servers)
    with assert_refused("ThrottlingException", "more units") as error:
        detect(lookout, project)
    assert error["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    assert (error["QuotaCode"], error["ServiceCode"]) == ("inference-units", "lookoutvision")
    assert [len(server.asked) for server in servers] == [1, 1]


def test_an_image_that_a_replica_refuses_is_a_validation_exception(
    lookout: Any, stores: Stores, project: str, replica: Any
) -> None:
    first, second = replica(refuses_the_image), replica(well)
    host(stores, project, first, second)
    with assert_refused("ValidationException", "20000 pixels wide"):
        detect(lookout, project)
    assert second.asked == [], "no other replica would take it"


@pytest.mark.parametrize("bad", [fails, redirects])
def test_a_replica_that_fails_is_an_internal_error(
    lookout: Any, stores: Stores, project: str, replica: Any, bad: Behaviour
) -> None:
    server = replica(bad)
    host(stores, project, server)
    with assert_refused("InternalServerException", "a replica .* failed"):
        detect(lookout, project)
    assert len(server.asked) == 1


@pytest.mark.parametrize("bad", [dies_before_the_answer, dies_in_mid_answer, another_model])
def test_none_left_is_an_internal_error_after_the_wait(fresh: Any, replica: Any, bad: Behaviour) -> None:
    service = fresh(replica_wait_seconds=0.3)
    service.lookout.create_project(ProjectName="p")
    server = replica(bad)
    host(service.stores, "p", server)
    with assert_refused("InternalServerException", "no inference unit of p/1 is running"):
        detect(service.lookout, "p")
    assert len(server.asked) >= 2, "it is asked again until the wait is over"


def test_a_replica_that_comes_in_time_is_waited_for(fresh: Any, replica: Any) -> None:
    service = fresh(replica_wait_seconds=30)
    service.lookout.create_project(ProjectName="p")
    asked_once = threading.Event()

    def gone(request: Replica) -> None:
        asked_once.set()
        another_model(request)

    host(service.stores, "p", replica(gone))
    [unit] = service.stores.hosting.units()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(detect, service.lookout, "p")
        assert asked_once.wait(30)
        service.stores.hosting.ready("host-of-p", unit, "new", replica(well).address)
        assert answer.result(30)["IsAnomalous"] is True


def test_a_model_that_is_stopped_while_a_request_waits_is_a_conflict(fresh: Any, replica: Any) -> None:
    service = fresh(replica_wait_seconds=30)
    service.lookout.create_project(ProjectName="p")

    def stopping(request: Replica) -> None:
        service.stores.hosting.stop(service.stores.catalogue.model("p", 1))
        another_model(request)

    host(service.stores, "p", replica(stopping))
    with assert_refused("ConflictException", "STOPPING_HOSTING"):
        detect(service.lookout, "p")


def test_a_replica_whose_lease_ran_out_is_not_asked(fresh: Any, replica: Any) -> None:
    service = fresh(replica_wait_seconds=0)
    service.lookout.create_project(ProjectName="p")
    server = replica(well)
    host(service.stores, "p", server)
    [unit] = service.stores.hosting.units()
    over = Hosting(service.stores.catalogue, service.settings.model_copy(update={"lease_seconds": 0}))
    over.keep("host-of-p", unit)
    with assert_refused("InternalServerException", "no inference unit"):
        detect(service.lookout, "p")
    assert server.asked == []
