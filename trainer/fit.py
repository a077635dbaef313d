"""A fit: samples in, a calibrated inspector and its verdict on the test samples out. Stores nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gpu.backbone import Backbone
from gpu.explanation import Source
from gpu.fitting import Recipe, embed_all, fit_inspector
from gpu.inspection import Inspector
from gpu.pixel_histogram import PixelHistogram
from storage.options import TrainingOptions
from trainer.dataset import Labels, Sample, TrainingError, merge_labels, network_input
from trainer.evaluation import Judged, PixelCounts
from trainer.memory import available_memory
from trainer.reading import Prepared, Progress, Reading

_BATCH = 16  # images embedded or judged at a time
_REFERENCES = 2  # images of each class kept for the self-test of the artefact
_MEMORY_SHARE = 0.7  # of the free memory: what the patch embeddings of a training may take


@dataclass(frozen=True)
class Fit:
    """What a training made. `pixels` and `histogram` are there for a segmentation model only."""

    inspector: Inspector
    references: Tensor
    judged: list[Judged]
    pixels: PixelCounts | None
    histogram: PixelHistogram | None
    dimensions: tuple[int, int] | None  # (width, height) of the training images, where all have the same


@dataclass
class _Embedded:
    """Patch embeddings (n, h, w, D) of samples on the CPU, their masks, and the first few images themselves."""

    patches: Tensor = field(default_factory=lambda: torch.empty(0))
    masks: list[Tensor] = field(default_factory=list)
    references: list[Tensor] = field(default_factory=list)


class Fitting:
    """One fit, step by step, on the device of the backbone. Raises TrainingError and gpu's MemoryNeeded."""

    def __init__(self, reading: Reading, backbone: Backbone, options: TrainingOptions, progress: Progress) -> None:
        self._reading, self._backbone, self._options, self._progress = reading, backbone, options, progress

    def fit(self, train: Sequence[Sample], test: Sequence[Sample]) -> Fit:
        """Train on one part, judge the other; the test samples have no part in the threshold."""
        labels = merge_labels(train, test)
        dimensions = self._reading.dimensions()
        sizes = [dimensions[sample.reference] for sample in train]
        size = network_input(sizes, self._options.image_size)
        same = sizes[0] if len(set(sizes)) == 1 else None
        try:
            inspector, references = self._train(train, size, labels)
            normal = [sample.reference for sample in train if not sample.anomalous]
            inspector.sources = tuple(Source(reference, *dimensions[reference]) for reference in normal)
            judged, pixels, histogram = self._judge(inspector, test, labels)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise TrainingError(
                f"The {self._backbone.device.type.upper()} has too little memory for images of {size[1]} × {size[0]} "
                "pixels. Choose a smaller vigil:image-size or vigil:coreset-ratio, or stop models on this machine."
            ) from error
        return Fit(inspector, references, judged, pixels, histogram, same)

    def _train(self, train: Sequence[Sample], size: tuple[int, int], labels: Labels | None) -> tuple[Inspector, Tensor]:
        normal = [sample for sample in train if not sample.anomalous]
        anomalous = [sample for sample in train if sample.anomalous]
        normals = self._embed(normal, size, labels, "Embedding normal images")
        anomalies = self._embed(anomalous, size, labels, "Embedding anomalous images")
        if not anomalous:
            anomalies.patches = normals.patches.new_empty(0, *normals.patches.shape[1:])
        inspector = fit_inspector(
            self._backbone,
            self._recipe(),
            normals.patches,
            anomalies.patches,
            torch.stack(anomalies.masks) if labels else None,
            labels.of_model if labels else {},
            size,
            lambda phase, fraction: self._progress(phase.capitalize(), fraction),
        )
        return inspector, torch.stack(normals.references + anomalies.references)

    def _recipe(self) -> Recipe:
        options = self._options
        alarms = None if options.max_false_alarms is None else options.max_false_alarms / 1000
        return Recipe(options.detector, options.coreset_ratio, options.seed, alarms)

    def _embed(self, samples: Sequence[Sample], size: tuple[int, int], labels: Labels | None, phase: str) -> _Embedded:
        made = _Embedded()
        if not samples:
            return made

        def images() -> Iterator[Tensor]:
            done = 0
            for batch in _batches(self._reading.prepared(samples, size, labels)):
                empty = torch.zeros(size, dtype=torch.uint8)
                made.masks += [empty if item.mask is None else item.mask for item in batch]
                made.references += [item.image for item in batch][: _REFERENCES - len(made.references)]
                done += len(batch)
                self._progress(phase, done / len(samples))
                yield torch.stack([item.image for item in batch])

        limit = int(available_memory() * _MEMORY_SHARE)
        made.patches = embed_all(self._backbone, images(), len(samples), limit_bytes=limit)
        return made

    def _judge(
        self, inspector: Inspector, test: Sequence[Sample], labels: Labels | None
    ) -> tuple[list[Judged], PixelCounts | None, PixelHistogram | None]:
        judged: list[Judged] = []
        pixels, histogram = (PixelCounts(labels.of_model), PixelHistogram()) if labels else (None, None)
        for batch in _batches(self._reading.prepared(test, inspector.input_size, labels)):
            found = inspector.inspect([item.image for item in batch])
            for item, inspection in zip(batch, found, strict=True):
                judged.append(Judged(item.sample, inspection.score, inspection.probability, inspection.is_anomalous))
                # An anomalous image without a mask says nothing about its pixels.
                unknown = item.sample.anomalous and item.mask is None
                if pixels and histogram and inspection.label_map is not None and not unknown:
                    truth = torch.zeros(inspector.input_size, dtype=torch.uint8) if item.mask is None else item.mask
                    pixels.add(inspection.label_map, truth)
                    histogram.add(inspection.anomaly_map.unsqueeze(0), truth.unsqueeze(0))
            self._progress("Evaluating", len(judged) / len(test))
        return judged, pixels, histogram


def _batches(prepared: Iterator[Prepared]) -> Iterator[list[Prepared]]:
    batch: list[Prepared] = []
    for item in prepared:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
