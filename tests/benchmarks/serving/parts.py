"""The parts of the benchmark: each puts a load on the service, does something to it, and returns what it found."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmarks.finding import Finding, Requirement
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.serving.damage import damaged
from tests.benchmarks.serving.load import Load, Outcome, Running, run
from tests.benchmarks.serving.pictures import SIZES, TRAINED
from tests.benchmarks.serving.plain import WAYS, Anomalib, Bare, running_anomalib
from tests.benchmarks.serving.processes import Usage, usage
from tests.benchmarks.serving.site import PROJECT, QUICK_SCALING, Site
from tests.conftest import wait_until

_MILLION = 1_000_000
_MINUTE = 60.0
_DAMAGED, _DAMAGING = 3000, 4  # different files, and clients that send them
_REFUSED, _LONGEST_ANSWER = 400, 5.0
_FLAT = 0.02  # of the memory: growth that is none
_WAIT_SECONDS = 120.0  # for what has to happen during a load; what takes longer is no figure but a fault


@dataclass(frozen=True)
class Plan:
    """How long each part lasts (s), and what it is measured with."""

    size: int
    ratio: float
    clients: tuple[int, ...]
    rounds: int
    seconds: float
    overload_seconds: float
    soak_seconds: float
    damage_seconds: float
    seed: int
    weights: Path | None = None
    weights_file: Path | None = None
    anomalib: Path | None = None

    @property
    def warm(self) -> float:
        """The first seconds of a load, which do not count."""
        return min(3.0, self.seconds / 5)

    @property
    def busy(self) -> int:
        """Clients that keep a replica busy without filling its queue."""
        return max(self.clients)


def throughput(site: Site, plan: Plan) -> Finding:
    """Images a second over HTTP, beside the bare engine and beside anomalib behind FastAPI."""
    bare = Bare(site.artefact(), plan.weights)
    names = [(size, clients) for size in SIZES for clients in plan.clients]
    with site.hosted():
        own = {name: [_measured(site, _load(site, plan, *name)) for _ in range(plan.rounds)] for name in names}
    engine = {
        (size, clients): [bare.rate(site.pictures.sent[size], plan.seconds, clients) for _ in range(plan.rounds)]
        for size, clients in names
    }
    rows, best = [], 0.0
    for name in names:
        rows.append(["Vigil, over HTTP", *_cells(name, own[name])])
        rate, cpu = (median(values) for values in zip(*engine[name], strict=True))
        rows.append(["Vigil's engine alone", name[0], str(name[1]), f"{rate:.1f}", "–", "–", "–", f"{cpu:.4f}"])
    banks = f"Vigil remembers {bare.bank} patches"
    if plan.anomalib is not None and plan.weights_file is not None:
        with running_anomalib(
            plan.anomalib, plan.weights_file, plan.ratio, site.pictures.normal, bare.input_size
        ) as server:
            banks += f", anomalib {server.bank}"
            for way in WAYS:
                for name in names:
                    found = [_baseline(server, way, site, plan, *name) for _ in range(plan.rounds)]
                    rows.append([f"anomalib {way}", *_cells(name, found)])
                    if name[0] == TRAINED:
                        best = max(best, median(one.outcome.rate(plan.warm) for one in found))
    ours = max(median(one.outcome.rate(plan.warm) for one in own[name]) for name in names if name[0] == TRAINED)
    alone = max(median(rate for rate, _ in engine[name]) for name in names if name[0] == TRAINED)
    required = [
        Requirement("of the engine's rate, 640 × 480", "≥ 70 %", f"{100 * ours / alone:.0f} %", ours >= 0.7 * alone)
    ]
    if best:
        required.insert(
            0, Requirement("as fast as anomalib, 640 × 480", "≥ 4 ×", f"{ours / best:.2f} ×", ours >= 4 * best)
        )
    conditions = (
        f"Each figure is the median of {plan.rounds} runs of {plan.seconds:g} s; {banks}; the network's input is "
        f"{bare.input_size[1]} × {bare.input_size[0]} pixels. The best of each kind is compared."
    )
    head = ("what", "image", "clients", "images/s", "p50 ms", "p95 ms", "p99 ms", "CPU s/image")
    return Finding(describe_machine(), conditions, head, rows, required)


def overhead(site: Site, plan: Plan) -> Finding:
    """What one client waits beyond the replica's own work."""
    rows, required = [], []
    with site.hosted():
        for size, images in site.pictures.sent.items():
            found = [run(site.load(images, plan.seconds)) for _ in range(plan.rounds)]
            beyond = [median(outcome.overheads(plan.warm)) for outcome in found]
            whole = [outcome.percentile(50, plan.warm) for outcome in found]
            answers = [row for outcome in found for row in outcome.answered if row.due >= plan.warm]
            steps = [_ms(median(getattr(row, step) for row in answers)) for step in ("queue", "decode", "score")]
            rows.append([size, _ms(median(whole)), *steps, _ms(median(beyond))])
            required.append(
                Requirement(f"API and HTTP, {size}", "≤ 4 ms", f"{_ms(median(beyond))} ms", median(beyond) <= 4e-3)
            )
    conditions = f"One client; the median of {plan.rounds} runs of {plan.seconds:g} s, each figure a p50."
    head = ("image", "whole ms", "waits ms", "decoded ms", "scored ms", "API and HTTP ms")
    return Finding(describe_machine(), conditions, head, rows, required)


def overload(site: Site, plan: Plan) -> Finding:
    """Twice the rate that the service can sustain."""
    images = site.pictures.sent[TRAINED]
    with site.hosted():
        sustained = _sustained(site, plan)
        settled = plan.overload_seconds / 3  # by then as many wait as may
        load = site.load(images, plan.overload_seconds, rate=2 * sustained, seed=plan.seed)
        found, before, after = _watched(site, load, settled)
    grown = after.bytes / before.bytes - 1
    good = found.rate(plan.warm)
    others = {status: count for status, count in found.statuses.items() if status != 200}
    wrong = sum(count for status, count in others.items() if status != 429)
    rows = [
        ["sustainable rate", f"{sustained:.1f}/s"],
        ["sent", f"{2 * sustained:.1f}/s, {len(found.rows)} in all"],
        ["answered with a decision", f"{good:.1f}/s"],
        ["p50, p99 of these", f"{_ms(found.percentile(50))} ms, {_ms(found.percentile(99))} ms"],
        ["answered with 429", str(others.get(429, 0))],
        ["any other answer, or none", str(wrong)],
        [f"memory of all processes after {settled:g} s, and at the end", f"{_mib(before)} and {_mib(after)} MiB"],
    ]
    required = [
        Requirement(
            "decisions at twice the rate", "≥ 90 %", f"{100 * good / sustained:.0f} %", good >= 0.9 * sustained
        ),
        Requirement("other answers than 200 and 429", "0", str(wrong), not wrong),
        Requirement("growth of memory", "≤ 2 %", f"{100 * grown:+.1f} %", grown <= _FLAT),
    ]
    conditions = (
        f"Poisson arrivals for {plan.overload_seconds:g} s. The sustainable rate is what {plan.busy} clients get that "
        "send an image as soon as they have their answer."
    )
    return Finding(describe_machine(), conditions, ("what", "found"), rows, required)


def kill(site: Site, plan: Plan) -> Finding:
    """kill -9 of one of two replicas under load."""
    with site.hosted(units=2):
        rate = 0.5 * _sustained(site, plan)
        with Running(site.load(site.pictures.sent[TRAINED], 3600, rate=rate, seed=plan.seed)) as running:
            before = site.replicas()
            _pass(plan.seconds)
            victim = next(iter(site.service.find("inference.replica", f"--replica={before[0]}")))
            victim.kill()
            killed = time.monotonic()
            wait_until(lambda: len(set(site.replicas()) - {before[0]}) == 2, _WAIT_SECONDS, "two replicas again")
            seconds = time.monotonic() - killed
            _pass(plan.seconds)
            running.end()
            found = running.outcome()
    rows = [
        ["sent", f"{rate:.1f}/s, {len(found.rows)} in all"],
        ["answers by status", _statuses(found)],
        ["two replicas in service again after", f"{seconds:.1f} s"],
        ["p50, p99, longest", ", ".join(f"{_ms(found.percentile(percent))} ms" for percent in (50, 99, 100))],
    ]
    required = [
        Requirement("requests that failed", "0", str(found.failed), not found.failed),
        Requirement("two replicas in service again", "≤ 15 s", f"{seconds:.1f} s", seconds <= 15),
    ]
    conditions = "Poisson arrivals at half of the sustainable rate, by a client that tries nothing twice."
    return Finding(describe_machine(), conditions, ("what", "found"), rows, required)


def change(site: Site, plan: Plan) -> Finding:
    """Another version takes over, and units come and go, under load."""
    images = site.pictures.sent[TRAINED]
    site.start("1")
    rate = 0.5 * _sustained(site, plan)
    with Running(site.load(images, 3600, (1, 2), rate=rate, seed=plan.seed)) as running:
        _pass(plan.seconds)
        site.start("2")
        running.move()
        site.stop("1")
        _pass(plan.seconds)
        running.end()
        versions = running.outcome()
    site.stop("2")
    with site.hosted(most=3):
        began = time.monotonic()
        with Running(site.load(images, 3600, clients=24)) as running:
            wait_until(lambda: len(site.replicas()) == 3, _WAIT_SECONDS, "three inference units")
            more = time.monotonic() - began
            running.end()
            rising = running.outcome()
        began = time.monotonic()
        with Running(site.load(images, 3600, rate=rate / 4, seed=plan.seed)) as running:
            wait_until(lambda: len(_units(site)) == 1, _WAIT_SECONDS, "one inference unit")
            fewer = time.monotonic() - began
            _pass(plan.seconds)
            running.end()
            falling = running.outcome()
    rows = [
        ["version 2 started, version 1 stopped", f"{len(versions.rows)}", _statuses(versions), "–"],
        ["1 → 3 inference units", f"{len(rising.rows)}", _statuses(rising), f"{more:.1f} s"],
        ["3 → 1 inference units", f"{len(falling.rows)}", _statuses(falling), f"{fewer:.1f} s"],
    ]
    scaling = ", ".join(f"`{name}={value}`" for name, value in QUICK_SCALING.items())
    failed = versions.failed + rising.failed + falling.failed
    required = [Requirement("requests that failed", "0", str(failed), not failed)]
    conditions = (
        f"Versions change at {rate:.1f} images a second; units rise under 24 clients and fall at {rate / 4:.1f} images "
        f"a second, with {scaling}. The client tries nothing twice."
    )
    return Finding(describe_machine(), conditions, ("change", "requests", "answers by status", "took"), rows, required)


def soak(site: Site, plan: Plan) -> Finding:
    """A long time at 80 % of the sustainable rate."""
    images, minute = site.pictures.sent[TRAINED], min(_MINUTE, plan.soak_seconds / 3)
    with site.hosted():
        rate = 0.8 * _sustained(site, plan)
        began = usage(site.processes())
        load = site.load(images, plan.soak_seconds, rate=rate, seed=plan.seed)
        found, first, last = _watched(site, load, minute)
    early, late = found.percentile(99, 0, minute), found.percentile(99, plan.soak_seconds - minute)
    grown, slower = last.bytes / first.bytes - 1, late / early - 1
    rows = [
        ["sent", f"{rate:.1f}/s, {len(found.rows)} in all"],
        ["answers by status", _statuses(found)],
        ["memory of all processes after a minute, and at the end", f"{_mib(first)} and {_mib(last)} MiB"],
        ["p99 in the first minute, and in the last", f"{_ms(early)} and {_ms(late)} ms"],
        ["CPU s/image", f"{last.since(began) / max(1, len(found.answered)):.4f}"],
    ]
    required = [
        Requirement("growth of memory", "≤ 2 %", f"{100 * grown:+.1f} %", grown <= _FLAT),
        Requirement("p99 of the last minute over the first's", "≤ 20 %", f"{100 * slower:+.0f} %", slower <= 0.2),
        Requirement("requests that failed", "0", str(found.failed), not found.failed),
    ]
    conditions = f"Poisson arrivals for {plan.soak_seconds / 60:g} minutes at 80 % of the sustainable rate."
    return Finding(describe_machine(), conditions, ("what", "found"), rows, required)


def damage(site: Site, plan: Plan) -> Finding:
    """Damaged image files, and whole ones of unusual kinds."""
    with site.hosted(), tempfile.TemporaryDirectory(prefix="vigil-damage-") as folder:
        files = damaged(site.pictures.sent[TRAINED], Path(folder) / "files", _DAMAGED, plan.seed)
        run(site.load(files, plan.damage_seconds / 10, clients=_DAMAGING))  # caches and buffers have filled after it
        replicas, before = site.replicas(), usage(site.processes())
        found = run(site.load(files, plan.damage_seconds, clients=_DAMAGING))
        after, same = usage(site.processes()), site.replicas() == replicas
    refused = found.statuses.get(_REFUSED, 0)
    others = len(found.rows) - len(found.answered) - refused
    slowest = max(row.ended - row.due for row in found.rows)
    grown = after.bytes / before.bytes - 1
    rows = [
        ["sent", f"{len(found.rows)}, of {len(files)} different files"],
        ["answers by status", _statuses(found)],
        ["longest answer", f"{_ms(slowest)} ms"],
        ["memory of all processes before and after", f"{_mib(before)} and {_mib(after)} MiB"],
    ]
    required = [
        Requirement("answers other than a decision or a refusal", "0", str(others), not others),
        Requirement("replicas that ended", "0", "0" if same else "some", same),
        Requirement("longest answer", "≤ 5 s", f"{slowest:.1f} s", slowest <= _LONGEST_ANSWER),
        Requirement("growth of memory", "≤ 2 %", f"{100 * grown:+.1f} %", grown <= _FLAT),
    ]
    conditions = (
        f"{_DAMAGING} clients for {plan.damage_seconds / 60:g} minutes send JPEG and PNG of all colour modes, most "
        "with bytes changed, cut or doubled, half of the PNG with checksums that are right all the same."
    )
    return Finding(describe_machine(), conditions, ("what", "found"), rows, required)


PARTS = {
    "throughput": throughput,
    "overhead": overhead,
    "overload": overload,
    "kill": kill,
    "change": change,
    "soak": soak,
    "damage": damage,
}
TITLES = {
    "throughput": "How many images",
    "overhead": "What the API and HTTP add",
    "overload": "Twice as many as it can",
    "kill": "A replica is killed",
    "change": "Versions and inference units change",
    "soak": "A long time",
    "damage": "Damaged images",
}


@dataclass(frozen=True)
class _Measured:
    outcome: Outcome
    cpu: float  # seconds for each decision


def _measured(site: Site, load: Load) -> _Measured:
    before = usage(site.processes())
    outcome = run(load)
    return _Measured(outcome, usage(site.processes()).since(before) / max(1, len(outcome.answered)))


def _baseline(server: Anomalib, way: str, site: Site, plan: Plan, size: str, clients: int) -> _Measured:
    before = usage([server.process])
    outcome = run(server.load(way, site.pictures.sent[size], plan.seconds, clients))
    return _Measured(outcome, usage([server.process]).since(before) / max(1, len(outcome.answered)))


def _load(site: Site, plan: Plan, size: str, clients: int) -> Load:
    return site.load(site.pictures.sent[size], plan.seconds, clients=clients)


def _cells(name: tuple[str, int], found: Sequence[_Measured]) -> list[str]:
    """Of the run with the median rate."""
    middle = sorted(found, key=lambda one: one.outcome.rate())[len(found) // 2]
    percentiles = (_ms(middle.outcome.percentile(percent)) for percent in (50, 95, 99))
    return [name[0], str(name[1]), f"{middle.outcome.rate():.1f}", *percentiles, f"{middle.cpu:.4f}"]


def _watched(site: Site, load: Load, settled: float) -> tuple[Outcome, Usage, Usage]:
    """Send a load → its outcome, and what all processes took after `settled` seconds and when it was about to end."""
    looks: list[Usage] = []
    with Running(load) as running:
        began = time.monotonic()
        while running.running():
            if time.monotonic() - began >= settled or not looks:
                looks.append(usage(site.processes()))
            _pass(settled / 6)
        found = running.outcome()
    return found, (looks[1:] or looks)[0], looks[-1]


def _sustained(site: Site, plan: Plan) -> float:
    """Decisions a second for clients that send an image as soon as they have their answer."""
    rates = []
    for _ in range(plan.rounds):
        found = run(site.load(site.pictures.sent[TRAINED], plan.seconds, clients=plan.busy))
        rates.append(found.rate(plan.warm))
    return median(rates)


def _units(site: Site) -> list[int]:
    return [unit.slot for unit in site.hosting.units() if unit.project == PROJECT]


def _pass(seconds: float) -> None:
    """Let a load go on as it is: its length is part of what is measured."""
    time.sleep(seconds)


def _statuses(outcome: Outcome) -> str:
    return ", ".join(f"{count} × {status or 'none'}" for status, count in outcome.statuses.items())


def _ms(seconds: float) -> str:
    return "–" if math.isnan(seconds) else f"{1000 * seconds:.1f}"


def _mib(found: Usage) -> str:
    return f"{found.bytes / 2**20:.0f}"
