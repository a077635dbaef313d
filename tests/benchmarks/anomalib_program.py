"""One of anomalib's detectors, trained and asked. Runs in an environment of its own, which knows nothing of Vigil.

Reads job.json and images.safetensors (train, labelled, test: uint8 (n, 3, H, W)) in the folder that it is given, and
writes answer.json and answer.safetensors (scores (n,), maps (n, H, W), thresholds, one for each of the job's counts).
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import torch
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from anomalib.metrics.threshold.f1_adaptive_threshold import F1AdaptiveThreshold
from anomalib.models import Padim, Patchcore
from lightning import seed_everything
from safetensors.torch import load_file, save_file

_BATCH = 8
_HELD_OUT = 0.2  # of the good images: what the threshold is chosen with, as Vigil holds out for its evaluation
_BLEND = (0.01, 0.2)  # how strong anomalib makes the synthetic anomalies of its own validation sets
_MEAN, _STD = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)


def main() -> None:
    """Do the job in the folder that the command line names."""
    folder = Path(sys.argv[1])
    job, images = json.loads((folder / "job.json").read_text()), load_file(folder / "images.safetensors")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    started = time.perf_counter()
    detector = fit(job, images["train"], device)
    seconds = time.perf_counter() - started
    scores, maps = ask(detector, images["test"], device)
    del detector
    found = {"scores": scores, "maps": maps, "thresholds": thresholds(job, images, device)}
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / "answer.safetensors")
    told = {"train_seconds": seconds} | {name: version(name) for name in ("anomalib", "torch")}
    (folder / "answer.json").write_text(json.dumps(told))


def fit(job: dict, images: torch.Tensor, device: torch.device) -> torch.nn.Module:
    """The network of a detector with all of anomalib's own settings, but for the weights of its backbone."""
    seed_everything(job["seed"])
    extra = {} if job["coreset_ratio"] is None else {"coreset_sampling_ratio": job["coreset_ratio"]}
    if job["model"] == "patchcore":
        module = Patchcore(backbone="resnet18", pre_trained=False, evaluator=False, visualizer=False, **extra)
    else:
        module = Padim(backbone="resnet18", pre_trained=False, evaluator=False, visualizer=False)
    load_backbone(module, Path(job["weights"]))
    module.to(device)
    network = module.model.train()
    for batch in images.split(_BATCH):
        network(normalised(batch, device))
    module.fit()
    return network.eval()


def load_backbone(module: torch.nn.Module, weights: Path) -> None:
    """Put ResNet-18's weights of a file into a detector; ends the program where they do not fit."""
    safe = weights.suffix == ".safetensors"
    state = load_file(weights) if safe else torch.load(weights, map_location="cpu", weights_only=True)
    missing, _ = module.model.feature_extractor.feature_extractor.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing:
        sys.exit(f"The weights {weights} do not fit anomalib's ResNet-18; missing are {', '.join(missing[:3])}.")


def ask(network: torch.nn.Module, images: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Image scores (n,) and anomaly maps (n, H, W)."""
    scores, maps = [], []
    with torch.no_grad():
        for batch in images.split(_BATCH):
            found = network(normalised(batch, device))
            scores.append(found.pred_score.flatten().cpu().double())
            maps.append(found.anomaly_map.squeeze(1).cpu().float())
    return torch.cat(scores), torch.cat(maps)


def thresholds(job: dict, images: dict[str, torch.Tensor], device: torch.device) -> torch.Tensor:
    """anomalib's adaptive threshold for each count of labelled anomalies, from images that are not judged.

    A second detector learns from four fifths of the good images. With labelled anomalies, those and the rest of the
    good ones are the validation set; without, half of the rest is made anomalous by anomalib's own generator.
    """
    order = torch.randperm(len(images["train"]), generator=torch.Generator().manual_seed(job["seed"]))
    held_out = max(2, round(_HELD_OUT * len(order)))
    detector = fit(job, images["train"][order[held_out:]], device)
    rest = images["train"][order[:held_out]]
    normal, _ = ask(detector, rest, device)
    labelled = ask(detector, images["labelled"], device)[0] if len(images["labelled"]) else torch.empty(0)
    made = PerlinAnomalyGenerator(probability=1.0, blend_factor=_BLEND)(rest[: held_out // 2] / 255)[0]
    synthetic, _ = ask(detector, (made.clamp(0, 1) * 255).round().to(torch.uint8), device)
    found = []
    for count in job["counts"]:
        good, bad = (normal, labelled[:count]) if count else (normal[held_out // 2 :], synthetic)
        metric = F1AdaptiveThreshold(fields=["pred_score", "gt_label"])
        truth = torch.cat((torch.zeros(len(good)), torch.ones(len(bad)))).int()
        metric.update(SimpleNamespace(pred_score=torch.cat((good, bad)), gt_label=truth))
        found.append(float(metric.compute()))
    return torch.tensor(found, dtype=torch.float64)


def normalised(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """As anomalib's own pre-processor does it."""
    return ((images / 255 - _MEAN) / _STD).to(device)


if __name__ == "__main__":
    main()
