"""AWS's two sample sets with default settings, where the folder with real images lies beside the project."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.journey import BUCKET, create_project, detect, evaluation, host, manifest, train, wait_for_model
from tests.service import Service

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the folder with AWS's sample images is not at {DATA}")


def test_cookie_with_the_manifest_as_aws_ships_it(
    service: Service, lookout: Any, figure: Callable[[str], None]
) -> None:
    for name in ("training-images", "mask-images"):
        shutil.copytree(DATA / "cookie" / name, service.bucket(BUCKET) / "cookie" / name)
    lines = []
    for line in (DATA / "cookie" / "template.manifest").read_text().splitlines():
        content = json.loads(line)
        for key in content.keys() & {"source-ref", "anomaly-mask-ref"}:
            content[key] = f"s3://{BUCKET}/cookie/{content[key]}"
        lines.append(json.dumps(content))
    described = create_project(lookout, service, "cookie", "\n".join(lines).encode())
    assert described["ImageStats"] == {"Total": 63, "Labeled": 63, "Normal": 31, "Anomaly": 32}

    model = train(lookout, "cookie")
    assert model["Status"] == "TRAINED", model["StatusMessage"]
    result, _ = evaluation(service, model)
    metrics = result["AggregatedEvaluationResults"]["Metrics"]
    figure(f"cookie, held-out part: {metrics}")
    assert model["Performance"]["F1Score"] >= 0.95
    assert metrics["PixelAnomalyClassMetrics"][0]["ClassName"] == "cracked"
    assert metrics["PixelAnomalyClassMetrics"][0]["AIOU"] > 0

    host(lookout, "cookie")
    overlaps, right, total = [], 0, 0
    for path in sorted((DATA / "cookie" / "training-images").glob("anomaly-*"))[:8]:
        answer = detect(lookout, "cookie", path)
        found = (np.asarray(Image.open(io.BytesIO(answer["AnomalyMask"]))) != 255).any(axis=2)
        with Image.open(DATA / "cookie" / "mask-images" / f"{path.stem}.png") as mask:
            truth = np.asarray(mask.convert("RGBA").convert("RGB")).any(axis=2)
        overlaps.append((found & truth).sum() / (found | truth).sum())
    for path in sorted((DATA / "cookie" / "test-images").iterdir()):
        right += detect(lookout, "cookie", path)["IsAnomalous"] == ("anomaly" in path.stem)
        total += 1
    figure(f"cookie, mask overlap {np.mean(overlaps):.3f}; further images: {right} of {total} decisions right")
    assert np.mean(overlaps) > 0
    lookout.stop_model(ProjectName="cookie", ModelVersion="1")
    assert wait_for_model(lookout, "cookie")["Status"] == "TRAINED"


def test_aliens(service: Service, lookout: Any, figure: Callable[[str], None]) -> None:
    shutil.copytree(DATA / "aliens", service.bucket(BUCKET) / "aliens")
    images: dict[str, str | None] = {}
    for path in sorted((DATA / "aliens").glob("*/*/*.png")):
        key = f"aliens/{path.relative_to(DATA / 'aliens').as_posix()}"
        images[key] = None if path.parent.name == "good" else "missing part"
    create_project(lookout, service, "aliens", manifest(images, masks=False))
    model = train(lookout, "aliens")
    assert model["Status"] == "TRAINED", model["StatusMessage"]
    result, lines = evaluation(service, model)
    figure(f"aliens, held-out part of {len(lines)}: {result['AggregatedEvaluationResults']['Metrics']}")
    assert model["Performance"]["F1Score"] >= 0.95
    assert host(lookout, "aliens")["Status"] == "HOSTED"
    held_out = {line["source-ref"]: line["anomaly-label-detected"] for line in lines}
    for reference, detected in list(held_out.items())[:6]:
        path = service.bucket(BUCKET) / reference.removeprefix(f"s3://{BUCKET}/")
        assert detect(lookout, "aliens", path)["IsAnomalous"] == bool(detected)
