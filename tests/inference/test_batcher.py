"""What waits is scored together, answers as if it came alone, and costs nothing once nobody waits for it."""

import asyncio
import json
import math
import socket
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import torch

from gpu import artefact
from gpu.backbone import load_backbone
from gpu.images import ImageError, ImageLimits
from gpu.inspection import Inspection
from inference.batcher import LARGEST_BATCH, Answer, Batcher, Full
from inference.engine import Engine, Prepared
from inference.server import Server
from storage.replica_call import EXPLAIN_REGIONS
from tests.conftest import serving_app, wait_until
from tests.trainer.plant import part

LIMITS = ImageLimits(min_side=32)
DEFECTS = (None, "scratch", "dent")


def batcher(data: bytes, most_waiting: int = 32) -> Batcher:
    inspector, _ = artefact.load(data, load_backbone)
    return Batcher(Engine(inspector, LIMITS), most_waiting, threads=2)


@contextmanager
def busy(made: Batcher) -> Iterator[None]:
    """The device has something else to do."""
    free = threading.Event()
    made.engine.device.submit(free.wait, 60)
    try:
        yield
    finally:
        free.set()


async def together(made: Batcher, images: list[bytes], explained: int | None = None) -> list[Any]:
    """The answers to images that all wait before the device looks at one; one of them asks for its regions."""
    with busy(made):
        wanted = [frozenset({EXPLAIN_REGIONS} if n == explained else ()) for n in range(len(images))]
        asked = asyncio.gather(*map(made.detect, images, wanted), return_exceptions=True)
        bad = sum(not image for image in images)
        while made.decoded < len(images) - bad:
            await asyncio.sleep(0.01)
    return await asked


async def one_by_one(made: Batcher, images: list[bytes]) -> list[Answer]:
    return [await made.detect(image) for image in images]


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("count", [2, LARGEST_BATCH, LARGEST_BATCH + 3])
def test_a_batch_answers_as_its_images_alone(trained: dict[bool, bytes], masks: bool, count: int) -> None:
    images = [part(200 + n, DEFECTS[n % 3], size=(96 + 8 * (n % 4), 64))[0] for n in range(count)]
    made = batcher(trained[masks])
    alone = asyncio.run(one_by_one(made, images))
    assert (made.batches, made.images) == (count, count), "nothing waited, so each was scored at once"
    batched = asyncio.run(together(made, images))
    assert made.batches == count + -(-count // LARGEST_BATCH)
    for one, other in zip(alone, batched, strict=True):
        first, second = (json.loads(answer.body)["DetectAnomalyResult"] for answer in (one, other))
        assert first["Confidence"] == pytest.approx(second["Confidence"], rel=1e-3)
        assert {**first, "Confidence": 0} == {**second, "Confidence": 0}


def test_scores_do_not_depend_on_the_company(trained: dict[bool, bytes]) -> None:
    engine = batcher(trained[True]).engine
    prepared = [engine.decode(part(300 + n, DEFECTS[n % 3])[0]) for n in range(LARGEST_BATCH)]
    batched = engine.device.submit(engine.score, prepared).result()
    for image, inspection in zip(prepared, batched, strict=True):
        [alone] = engine.device.submit(engine.score, [image]).result()
        assert inspection.score == pytest.approx(alone.score, rel=1e-3)
        assert inspection.is_anomalous == alone.is_anomalous


def test_only_who_asks_is_told_why(trained: dict[bool, bytes]) -> None:
    answers = asyncio.run(together(batcher(trained[True]), [part(71, "dent")[0]] * 3, explained=1))
    bodies = [json.loads(answer.body) for answer in answers]
    assert ["Explanation" in body for body in bodies] == [False, True, False]
    assert bodies[1]["Explanation"]["Regions"]


def test_a_bad_image_does_not_harm_those_beside_it(trained: dict[bool, bytes]) -> None:
    good, bad, other = asyncio.run(together(batcher(trained[False]), [part(1)[0], b"", part(2, "dent")[0]]))
    assert (good.is_anomalous, other.is_anomalous) == (False, True)
    assert isinstance(bad, ImageError)


class NarrowEngine(Engine):
    """A device with memory for one image."""

    def score(self, batch: Sequence[Prepared], explained: Collection[int] = ()) -> list[Inspection]:
        if len(batch) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return super().score(batch, explained)


class WatchedEngine(Engine):
    """Tells who scored with how many threads, and decodes nothing until it may."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.may_decode, self.scored = threading.Event(), list[tuple[str, int]]()

    def decode(self, data: bytes) -> Prepared:
        assert self.may_decode.wait(60)
        return super().decode(data)

    def score(self, batch: Sequence[Prepared], explained: Collection[int] = ()) -> list[Inspection]:
        name = threading.current_thread().name.split("_")[0]
        self.scored += [(name, torch.get_num_threads())] * len(batch)
        return super().score(batch, explained)


def test_a_lone_image_gets_the_whole_cpu_and_many_get_a_thread_each(trained: dict[bool, bytes]) -> None:
    inspector, _ = artefact.load(trained[False], load_backbone)
    engine = WatchedEngine(inspector, LIMITS, threads=3)
    made, images = Batcher(engine, 32, threads=3), [part(400 + n, DEFECTS[n % 3])[0] for n in range(12)]
    assert engine.self_test() < 1e-3

    async def at_once() -> list[Answer]:
        engine.may_decode.clear()
        asked = asyncio.gather(*map(made.detect, images))
        await asyncio.sleep(0)  # all of them are at hand
        engine.may_decode.set()
        return await asked

    engine.may_decode.set()
    alone = asyncio.run(one_by_one(made, images))
    assert engine.scored == [("device", 3)] * len(images)
    engine.scored.clear()
    together = asyncio.run(at_once())
    assert len(engine.scored) == len(images)
    assert engine.scored[:6] == [("lane", 1)] * 6, "but for the last of them nobody waits"
    assert made.images == 2 * len(images)
    for one, other in zip(alone, together, strict=True):
        first, second = (json.loads(answer.body)["DetectAnomalyResult"] for answer in (one, other))
        assert first["Confidence"] == pytest.approx(second["Confidence"], rel=1e-3)
        assert {**first, "Confidence": 0} == {**second, "Confidence": 0}


def test_images_that_are_too_many_together_are_scored_alone(trained: dict[bool, bytes]) -> None:
    inspector, _ = artefact.load(trained[False], load_backbone)
    made = Batcher(NarrowEngine(inspector, LIMITS), 32, threads=2)
    answers = asyncio.run(together(made, [part(1)[0], part(2, "dent")[0], part(3)[0]]))
    assert [answer.is_anomalous for answer in answers] == [False, True, False]
    assert (made.batches, made.images) == (3, 3)


def test_a_client_that_leaves_costs_nothing(trained: dict[bool, bytes]) -> None:
    made = batcher(trained[False])
    image = part(1)[0]
    with serving_app(Server(made, "9f0c", LIMITS.max_bytes).app(lambda: None)) as address:
        with busy(made):
            with socket.create_connection((urlsplit(address).hostname, urlsplit(address).port)) as client:
                head = f"POST /9f0c/detect HTTP/1.1\r\nHost: replica\r\nContent-Length: {len(image)}\r\n\r\n"
                client.sendall(head.encode() + image)
                wait_until(lambda: made.decoded, 30, "the image to wait for the device")
            wait_until(lambda: not made.waiting, 30, "the request to be given up")
        response = httpx.post(f"{address}/9f0c/detect", content=image, trust_env=False)
        assert response.status_code == 200
    assert made.images == 1


def test_how_long_images_waited_is_told_once(trained: dict[bool, bytes]) -> None:
    made = batcher(trained[False], most_waiting=3)
    assert made.take_wait() == 0, "nothing came"
    found = asyncio.run(together(made, [part(1)[0]] * 3))
    assert made.take_wait() == sorted(answer.queue for answer in found)[1] > 0
    with made.admission(), made.admission():
        assert made.take_wait() == 0
        with made.admission(), pytest.raises(Full), made.admission():
            pass
    assert made.take_wait() == math.inf
    assert made.take_wait() == 0


def test_a_device_that_does_not_go_on_is_told_while_an_image_waits(trained: dict[bool, bytes]) -> None:
    made = batcher(trained[False])
    assert made.stalled() == 0

    async def waiting() -> None:
        with busy(made):
            asked = asyncio.ensure_future(made.detect(part(71)[0]))
            while made.stalled() < 0.2:
                await asyncio.sleep(0.01)
        await asked

    asyncio.run(asyncio.wait_for(waiting(), 60))
    assert made.stalled() == 0
