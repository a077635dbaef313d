"""decode → score → result: the three steps from the bytes of an image file to the body of its answer."""

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor

from gpu.images import ImageError, ImageLimits, prepare
from gpu.inspection import Inspection, Inspector
from inference.result import result
from storage.replica_call import EXPLAIN_MAP


@dataclass(frozen=True)
class Prepared:
    """An image uint8 (3, h, w) at the network's input size, and the size of the image that was sent."""

    image: Tensor
    width: int
    height: int


class Engine:
    """Holds the inspector. `dimensions` are the only (width, height) it takes; None where it takes any.

    `device` is the one thread that scores with all `threads` of the CPU, or with the GPU. On a CPU the threads of
    `lanes` score a batch each with a thread of their own: where there is more than one image, that takes a fifth less
    time than sharing every image among all, who wait for each other in each layer.
    """

    def __init__(
        self,
        inspector: Inspector,
        limits: ImageLimits,
        dimensions: tuple[int, int] | None = None,
        threads: int = 1,
    ) -> None:
        self._inspector, self._limits, self._dimensions = inspector, limits, dimensions
        bank = inspector.defect_bank
        self._colours = list(zip(bank.names, bank.colours, strict=True)) if bank else None
        self.device = workers(1, "device", share=threads)
        on_cpu = inspector.embedding.device.type == "cpu"
        self.lane_count = threads if on_cpu else 1
        self.lanes = workers(threads, "lane") if self.lane_count > 1 else self.device

    def decode(self, data: bytes) -> Prepared:
        """Any thread's work. Raises ImageError, with what is wrong with the image."""
        image, header = prepare(data, self._inspector.input_size, self._limits)
        width, height = header.width, header.height
        if self._dimensions is not None and (width, height) != self._dimensions:
            raise ImageError(
                f"The image is {width} × {height} pixels; the model was trained with images of "
                f"{self._dimensions[0]} × {self._dimensions[1]} and takes no others. Send images of that size."
            )
        return Prepared(image, width, height)

    def score(self, batch: Sequence[Prepared], explained: Collection[int] = ()) -> list[Inspection]:
        """The work of the device's thread or a lane's: one Inspection per image, as each image alone would get it.

        `explained` are the positions in the batch of the images whose regions are to be told.
        """
        return self._inspector.inspect([prepared.image for prepared in batch], explained)

    def result(self, prepared: Prepared, inspection: Inspection, explain: AbstractSet[str] = frozenset()) -> bytes:
        """The JSON body, with the explanations asked for, words of EXPLAIN_HEADER. Any thread's work."""
        threshold = self._inspector.calibration.pixel_threshold if EXPLAIN_MAP in explain else None
        return result(inspection, prepared.width, prepared.height, self._colours, threshold)

    def memory(self) -> int:
        """Bytes that this process holds: of its GPU's memory, or of the machine's where it computes on the CPU."""
        device = self._inspector.embedding.device
        if device.type == "cuda":
            return torch.cuda.memory_reserved(device)
        return int(psutil.Process().memory_info().rss)

    def self_test(self) -> float:
        """Score the reference images, which also warms up the threads that will score → the largest difference found.

        Raises SelfTestError where this machine does not reproduce the scores of the training.
        """
        found = [self.device.submit(self._inspector.self_test).result()]
        if self.lanes is not self.device:
            lanes = [self.lanes.submit(self._inspector.self_test) for _ in range(self.lane_count)]
            found += [lane.result() for lane in lanes]
        return max(found)


def workers(count: int, name: str, *, share: int = 1) -> ThreadPoolExecutor:
    """So many threads, each of which may compute with `share` threads of the CPU.

    Left alone each would take all of them. OpenMP keeps a team for every thread that does, and where the teams together
    have more members than there are CPUs, a lone image takes up to a tenth longer.
    """
    return ThreadPoolExecutor(count, thread_name_prefix=name, initializer=torch.set_num_threads, initargs=(share,))
