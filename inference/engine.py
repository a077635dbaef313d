"""Image bytes → answer: decoded and encoded on CPU threads, scored one at a time on the device."""

import asyncio
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from gpu.images import ImageError, ImageLimits, decode
from gpu.inspection import Inspection, Inspector
from inference.result import result
from storage.hosting import EXPLAIN_MAP, EXPLAIN_REGIONS


class Engine:
    """Holds the inspector. `dimensions` are the only (width, height) it takes; None where it takes any."""

    def __init__(
        self, inspector: Inspector, limits: ImageLimits, dimensions: tuple[int, int] | None = None, threads: int = 1
    ) -> None:
        self._inspector, self._limits, self._dimensions = inspector, limits, dimensions
        bank = inspector.defect_bank
        self._colours = list(zip(bank.names, bank.colours, strict=True)) if bank else None
        # One thread for the device rather than a lock: torch keeps a team of threads for each that calls it.
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._images = ThreadPoolExecutor(threads, thread_name_prefix="image")

    async def detect(self, data: bytes, explain: AbstractSet[str] = frozenset()) -> bytes:
        """The JSON body for an image file, with the explanations asked for: any of storage.hosting's EXPLAIN_ words.

        Raises ImageError, with what is wrong with the image.
        """
        loop = asyncio.get_running_loop()
        prepared, width, height = await loop.run_in_executor(self._images, self._prepare, data)
        inspection = await loop.run_in_executor(self._device, self._inspect, prepared, EXPLAIN_REGIONS in explain)
        threshold = self._inspector.calibration.pixel_threshold if EXPLAIN_MAP in explain else None
        return await loop.run_in_executor(self._images, result, inspection, width, height, self._colours, threshold)

    def self_test(self) -> float:
        """Score the reference images, which also warms up the thread that will score → the largest difference found.

        Raises SelfTestError where this machine does not reproduce the scores of the training.
        """
        return self._device.submit(self._inspector.self_test).result()

    def _prepare(self, data: bytes) -> tuple[Tensor, int, int]:
        image = decode(data, self._limits)
        height, width = image.shape[1:]
        if self._dimensions is not None and (width, height) != self._dimensions:
            raise ImageError(
                f"The image is {width} × {height} pixels; the model was trained with images of "
                f"{self._dimensions[0]} × {self._dimensions[1]} and takes no others. Send images of that size."
            )
        return self._inspector.prepare(image), width, height

    def _inspect(self, prepared: Tensor, explained: bool) -> Inspection:
        return self._inspector.inspect([prepared], explained=explained)[0]
