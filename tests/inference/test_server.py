"""A replica's HTTP face, in this process: who may ask, what is refused, what is answered."""

import asyncio
import io
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.types import ASGIApp

from gpu import artefact
from gpu.backbone import load_backbone
from gpu.images import ImageLimits
from inference.batcher import Batcher
from inference.engine import Engine
from inference.server import Server
from tests.trainer.plant import COLOURS, HEIGHT, WIDTH, part, png

LIMITS = ImageLimits(min_side=32)
REPLICA = "9f0c"
Ask = Callable[..., httpx.Response]


def engine(data: bytes, dimensions: tuple[int, int] | None = None) -> Engine:
    inspector, _ = artefact.load(data, load_backbone)
    made = Engine(inspector, LIMITS, dimensions)
    assert made.self_test() < 1e-3
    return made


def serve(made: Engine, most_waiting: int = 8) -> ASGIApp:
    return Server(Batcher(made, most_waiting, threads=2), REPLICA, LIMITS.max_bytes).app(lambda: None)


async def post(app: ASGIApp, images: list[bytes], headers: dict[str, str], replica: str) -> list[httpx.Response]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://replica") as client:
        asked = [client.post(f"/{replica}/detect", content=image, headers=headers) for image in images]
        return await asyncio.gather(*asked)


def ask(app: ASGIApp, image: bytes, replica: str = REPLICA, **headers: str) -> httpx.Response:
    return asyncio.run(post(app, [image], headers, replica))[0]


def enlarged(data: bytes, times: int) -> bytes:
    """The PNG with each pixel `times` as wide and high."""
    with Image.open(io.BytesIO(data)) as image:
        return png(image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST))


@pytest.mark.parametrize(("masks", "members"), [(False, 3), (True, 5)])
def test_answers(trained: dict[bool, bytes], masks: bool, members: int) -> None:
    app = serve(engine(trained[masks]))
    normal, scratch = (ask(app, part(71, defect)[0]) for defect in (None, "scratch"))
    assert normal.headers["content-type"] == "application/json"
    found = [response.json()["DetectAnomalyResult"] for response in (normal, scratch)]
    assert [answer["IsAnomalous"] for answer in found] == [False, True]
    assert all(len(answer) == members and 0.5 <= answer["Confidence"] <= 1 for answer in found)
    if masks:
        named: list[dict[str, Any]] = found[1]["Anomalies"]
        assert named[0]["Name"] == "background"
        assert {a["Name"]: a["PixelAnomaly"]["Color"] for a in named[1:]}["scratch"] == COLOURS["scratch"]


def test_the_answer_tells_its_times(trained: dict[bool, bytes]) -> None:
    told = ask(serve(engine(trained[False])), part(71)[0]).headers["server-timing"]
    assert re.fullmatch(r"queue;dur=\d+\.\d, decode;dur=\d+\.\d, score;dur=\d+\.\d", told)


def test_explanation_comes_on_demand(trained: dict[bool, bytes]) -> None:
    app = serve(engine(trained[False]))
    image = part(71, "dent")[0]
    assert list(ask(app, image).json()) == ["DetectAnomalyResult"]
    plain = ask(app, image).json()["DetectAnomalyResult"]
    for header, members in (
        ("map", ["AnomalyMap"]),
        ("regions", ["Regions"]),
        ("map, regions", ["AnomalyMap", "Regions"]),
    ):
        body = ask(app, image, **{"X-Vigil-Explain": header}).json()
        assert (body["DetectAnomalyResult"], list(body["Explanation"])) == (plain, members)
    assert "Explanation" not in ask(app, image, **{"X-Vigil-Explain": "poem"}).json()


def test_a_region_is_explained_by_a_normal_training_image(trained: dict[bool, bytes]) -> None:
    app, header = serve(engine(trained[True])), {"X-Vigil-Explain": "regions"}
    assert ask(app, part(71)[0], **header).json()["Explanation"] == {"Regions": []}
    # At twice the size of the training images: boxes are in the pixels of the image that they belong to.
    image, mask = (enlarged(data, 2) for data in part(71, "dent"))
    (region, *_) = ask(app, image, **header).json()["Explanation"]["Regions"]
    nearest = region["NearestNormal"]
    assert re.fullmatch(r"s3://plant/part/normal-\d+\.png", nearest["SourceRef"])
    assert (nearest["Patch"]["Width"], nearest["Patch"]["Height"]) == (8, 8)
    assert (region["Patch"]["Width"], region["Patch"]["Height"]) == (16, 16)
    for box, (width, height) in ((nearest["Patch"], (WIDTH, HEIGHT)), (region["Box"], (2 * WIDTH, 2 * HEIGHT))):
        assert min(box["Left"], box["Top"]) >= 0
        assert box["Left"] + box["Width"] <= width
        assert box["Top"] + box["Height"] <= height
    with Image.open(io.BytesIO(mask)) as drawn:
        left, top, width, height = (region["Patch"][name] for name in ("Left", "Top", "Width", "Height"))
        assert drawn.crop((left, top, left + width, top + height)).getbbox() is not None


def test_other_replicas_are_not_answered_for(trained: dict[bool, bytes]) -> None:
    assert ask(serve(engine(trained[False])), part(1)[0], replica="other").status_code == 421


@pytest.mark.parametrize("image", [b"", b"text", part(1)[0][:-30], part(1, size=(5000, 64))[0]])
def test_bad_images_are_told_apart(trained: dict[bool, bytes], image: bytes) -> None:
    response = ask(serve(engine(trained[False])), image)
    assert response.status_code == 422
    assert response.json()["message"]


def test_body_over_the_limit_is_not_taken(trained: dict[bool, bytes]) -> None:
    made = engine(trained[False])
    app = Server(Batcher(made, 8), REPLICA, max_bytes=100).app(lambda: None)
    response = ask(app, part(1)[0])
    assert response.status_code == 422
    assert "100 bytes" in response.json()["message"]


def test_dimensions_are_refused_where_they_are_fixed(trained: dict[bool, bytes]) -> None:
    app = serve(engine(trained[False], (WIDTH, HEIGHT)))
    assert ask(app, part(1)[0]).status_code == 200
    response = ask(app, part(1, size=(128, 64))[0])
    assert response.status_code == 422
    assert "128 × 64" in response.json()["message"]
    assert "96 × 64" in response.json()["message"]


def test_no_more_wait_than_agreed(trained: dict[bool, bytes]) -> None:
    app = serve(engine(trained[False]), most_waiting=2)
    found = asyncio.run(post(app, [part(1)[0]] * 6, {}, REPLICA))
    assert sorted(response.status_code for response in found) == [200, 200, 503, 503, 503, 503]
    assert all("retry-after" in response.headers for response in found if response.status_code == 503)
    assert ask(app, part(1)[0]).status_code == 200


def test_failure_of_the_replica_is_no_fault_of_the_image(
    trained: dict[bool, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    inspector, _ = artefact.load(trained[False], load_backbone)
    del inspector.detector
    response = ask(serve(Engine(inspector, LIMITS)), part(1)[0])
    assert response.status_code == 500
    assert "could not be inspected" in caplog.text
