"""A fit: samples in, a calibrated inspector and its verdict on the test samples out. Stores nothing."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu.backbone import Backbone
from gpu.detector import keeps_bank
from gpu.explanation import Source
from gpu.fitting import Recipe, fit_inspector
from gpu.inspection import Inspector
from gpu.memory_plan import MemoryPlan, Shape
from gpu.normals import Normals
from gpu.patch_embedding import Embedding
from gpu.pixel_histogram import PixelHistogram
from storage.options import TrainingOptions
from trainer.dataset import Labels, Sample, TrainingError, merge_labels, network_input
from trainer.evaluation import Judged, PixelCounts
from trainer.memory import training_budget
from trainer.reading import Prepared, Progress, Reading
from trainer.selection import Choice, choose_candidate

_BATCH, _BATCH_OF_CUDA = 8, 32  # images embedded or judged at a time; more only takes more memory on a CPU
_REFERENCES = 2  # images of each class kept for the self-test of the artefact

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fit:
    """What a training made. `pixels` and `histogram` are there for a segmentation model only."""

    inspector: Inspector
    references: Tensor
    judged: list[Judged]
    pixels: PixelCounts | None
    histogram: PixelHistogram | None
    dimensions: tuple[int, int] | None  # (width, height) of the training images, where all have the same
    choice: Choice


class Fitting:
    """One fit, step by step, on the device of the backbone. Raises TrainingError and gpu's MemoryNeeded."""

    def __init__(
        self,
        reading: Reading,
        backbone: Backbone,
        options: TrainingOptions,
        progress: Progress,
        memory_gib: float | None = None,
        spending: float = 0.0,
    ) -> None:
        """The backbone must have all its layers.

        `memory_gib` is what the patch embeddings may take; without it a share of what is free. `spending` is how many
        times the cost of one training comparing detectors may take.
        """
        self._reading, self._backbone, self._options, self._progress = reading, backbone, options, progress
        self._memory_gib, self._spending, self._plan = memory_gib, spending, ""
        self._batch = _BATCH_OF_CUDA if backbone.device.type == "cuda" else _BATCH

    def fit(self, train: Sequence[Sample], test: Sequence[Sample]) -> Fit:
        """Train on one part, judge the other; the test samples have no part in the threshold."""
        labels = merge_labels(train, test)
        dimensions = self._reading.dimensions()
        sizes = [dimensions[sample.reference] for sample in train]
        same = sizes[0] if len(set(sizes)) == 1 else None
        try:
            choice = choose_candidate(
                self._reading,
                train,
                dimensions,
                self._backbone,
                self._options,
                self._spending,
                training_budget(self._backbone.device, self._memory_gib),
                self._progress,
            )
            log.info("chosen: %s, of %d compared", choice.candidate.name, len(choice.trials))
            size = network_input(sizes, choice.candidate.image_size)
            inspector, references = self._train(train, choice, size, labels)
            normal = [sample.reference for sample in train if not sample.anomalous]
            inspector.sources = tuple(Source(reference, *dimensions[reference]) for reference in normal)
            judged, pixels, histogram = self._judge(inspector, test, labels)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise TrainingError(
                f"The {self._backbone.device.type.upper()} has too little memory for images of {size[1]} × {size[0]} "
                "pixels. Choose a smaller vigil:image-size or vigil:coreset-ratio, or stop models on this machine."
            ) from error
        return Fit(inspector, references, judged, pixels, histogram, same, choice)

    def _train(
        self, train: Sequence[Sample], choice: Choice, size: tuple[int, int], labels: Labels | None
    ) -> tuple[Inspector, Tensor]:
        normal = [sample for sample in train if not sample.anomalous]
        anomalous = [sample for sample in train if sample.anomalous]
        recipe, references, masks = self._recipe(choice), list[Tensor](), list[Tensor]()
        embedding = Embedding(self._backbone.using(choice.candidate.layers), choice.candidate.stride)

        def planned(shape: Shape) -> MemoryPlan:
            ratio = recipe.coreset_ratio if keeps_bank(recipe.detector) else None
            budget = training_budget(self._backbone.device, self._memory_gib)
            plan = MemoryPlan.of(len(normal), len(anomalous), shape, ratio, budget)
            log.info("memory: %s", plan)
            self._plan = f" ({plan})"
            return plan

        images = self._images(normal, size, labels, "Embedding normal images", references)
        normals = Normals.gather(embedding, images, len(normal), planned, recipe.coreset_ratio, recipe.seed)
        if anomalous:
            images = self._images(anomalous, size, labels, "Embedding anomalous images", references, masks)
            anomalies = embedding.embed_all(images, len(anomalous))
        else:
            anomalies = normals.patches.new_empty(0, *normals.patches.shape[1:])
        inspector = fit_inspector(
            embedding,
            recipe,
            normals,
            anomalies,
            torch.stack(masks) if labels and masks else None,
            labels.of_model if labels else {},
            size,
            lambda phase, fraction: self._progress(phase.capitalize() + self._plan, fraction),
        )
        return inspector, torch.stack(references)

    def _recipe(self, choice: Choice) -> Recipe:
        options = self._options
        alarms = None if options.max_false_alarms is None else options.max_false_alarms / 1000
        return choice.candidate.recipe(options.coreset_ratio, options.seed, alarms)

    def _images(
        self,
        samples: Sequence[Sample],
        size: tuple[int, int],
        labels: Labels | None,
        phase: str,
        references: list[Tensor],
        masks: list[Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """Batches of the samples; the first few images are added to `references`, all masks to `masks`."""
        done = 0
        for batch in _batches(self._reading.prepared(samples, size, labels), self._batch):
            references += [item.image for item in batch][: max(0, _REFERENCES - done)]
            if masks is not None:
                empty = torch.zeros(size, dtype=torch.uint8)
                masks += [empty if item.mask is None else item.mask for item in batch]
            done += len(batch)
            self._progress(phase + self._plan, done / len(samples))
            yield torch.stack([item.image for item in batch])

    def _judge(
        self, inspector: Inspector, test: Sequence[Sample], labels: Labels | None
    ) -> tuple[list[Judged], PixelCounts | None, PixelHistogram | None]:
        judged: list[Judged] = []
        pixels, histogram = (PixelCounts(labels.of_model), PixelHistogram()) if labels else (None, None)
        for batch in _batches(self._reading.prepared(test, inspector.input_size, labels), self._batch):
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


def _batches(prepared: Iterator[Prepared], size: int) -> Iterator[list[Prepared]]:
    batch: list[Prepared] = []
    for item in prepared:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
