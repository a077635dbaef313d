"""The worst mistakes of a detector: photograph and anomaly map beside each other, with what was said."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional

from tests.benchmarks.datasets import Photo
from tests.benchmarks.photographs import read_image
from tests.benchmarks.verdicts import Verdicts

_MOST = 10
_HEIGHT = 320  # pixels of both pictures
_BRIGHTEST = 0.999  # share of all map values under the brightest colour: one hot pixel must not darken the rest
_COLOURS = np.array([(0, 0, 0), (120, 0, 60), (220, 60, 20), (255, 180, 40), (255, 255, 220)])


def worst_mistakes(verdicts: Verdicts, truth: Sequence[bool]) -> list[int]:
    """Which photographs were decided wrongly, the furthest on the wrong side of the threshold first; at most ten."""
    wrong = [number for number, bad in enumerate(truth) if verdicts.decisions[number] != bad]

    def distance(number: int) -> float:
        return abs(math.log(max(verdicts.scores[number], 1e-12) / verdicts.threshold))

    return sorted(wrong, key=distance, reverse=True)[:_MOST]


def write_mistakes(folder: Path, verdicts: Verdicts, photos: Sequence[Photo]) -> int:
    """A PNG for each of the worst mistakes; earlier ones in the folder go. → how many were written"""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.png"):
        path.unlink()
    if not verdicts.maps:
        return 0
    brightest = float(np.quantile(torch.stack(list(verdicts.maps)).flatten()[::17].numpy(), _BRIGHTEST))
    found = worst_mistakes(verdicts, [photo.defect is not None for photo in photos])
    for rank, number in enumerate(found, 1):
        photo, score = photos[number], verdicts.scores[number]
        said = "bad" if verdicts.decisions[number] else "good"
        words = (
            f"{photo.defect or 'good'} part, said to be {said}: score {score:.4g}, threshold {verdicts.threshold:.4g}"
        )
        path = folder / f"{rank:02d}-{photo.path.parent.name}-{photo.path.stem}.png"
        _picture(photo, verdicts.maps[number] / max(brightest, 1e-12), words).save(path)
    return len(found)


def _picture(photo: Photo, values: torch.Tensor, words: str) -> Image.Image:
    image = Image.fromarray(read_image(photo).permute(1, 2, 0).numpy())
    width = max(64, round(image.width * _HEIGHT / image.height))
    resized = functional.interpolate(values[None, None].float(), (_HEIGHT, width), mode="bilinear")[0, 0].clamp(0, 1)
    steps = np.linspace(0, 1, len(_COLOURS))
    coloured = np.stack([np.interp(resized.numpy(), steps, _COLOURS[:, channel]) for channel in range(3)], axis=-1)
    font = ImageFont.load_default(16)
    canvas = Image.new("RGB", (max(2 * width, round(font.getlength(words)) + 16), _HEIGHT + 28))
    canvas.paste(image.resize((width, _HEIGHT)))
    canvas.paste(Image.fromarray(coloured.astype(np.uint8)), (width, 0))
    ImageDraw.Draw(canvas).text((8, _HEIGHT + 14), words, fill=(255, 255, 255), font=font, anchor="lm")
    return canvas
