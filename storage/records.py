"""What the service knows about: frozen records, their statuses, the allowed transitions, and ARNs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

_Status = TypeVar("_Status", bound=StrEnum)
_VERSION = re.compile(r"[1-9][0-9]{0,9}")


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


class ModelStatus(StrEnum):
    """Statuses of a model, as AWS names them."""

    TRAINING = "TRAINING"
    TRAINED = "TRAINED"
    TRAINING_FAILED = "TRAINING_FAILED"
    STARTING_HOSTING = "STARTING_HOSTING"
    HOSTED = "HOSTED"
    HOSTING_FAILED = "HOSTING_FAILED"
    STOPPING_HOSTING = "STOPPING_HOSTING"
    SYSTEM_UPDATING = "SYSTEM_UPDATING"
    DELETING = "DELETING"


class DatasetStatus(StrEnum):
    """Statuses of a data set, as AWS names them."""

    CREATE_IN_PROGRESS = "CREATE_IN_PROGRESS"
    CREATE_COMPLETE = "CREATE_COMPLETE"
    CREATE_FAILED = "CREATE_FAILED"
    UPDATE_IN_PROGRESS = "UPDATE_IN_PROGRESS"
    UPDATE_COMPLETE = "UPDATE_COMPLETE"
    UPDATE_FAILED_ROLLBACK_IN_PROGRESS = "UPDATE_FAILED_ROLLBACK_IN_PROGRESS"
    UPDATE_FAILED_ROLLBACK_COMPLETE = "UPDATE_FAILED_ROLLBACK_COMPLETE"


class JobStatus(StrEnum):
    """Statuses of a job. A job that waits and one that runs differ by their lease only."""

    OPEN = "OPEN"
    DONE = "DONE"
    FAILED = "FAILED"


class Role(StrEnum):
    """What an access key may do; each role may all that the one before it may."""

    INSPECTOR = "inspector"  # look at everything, detect anomalies
    OPERATOR = "operator"  # and start and stop models
    ADMIN = "admin"  # and everything else

    def may(self, needed: "Role") -> bool:
        """Whether this role may do what needs that one."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


_M, _D = ModelStatus, DatasetStatus

MODEL_TRANSITIONS: Mapping[ModelStatus, frozenset[ModelStatus]] = {
    _M.TRAINING: frozenset({_M.TRAINED, _M.TRAINING_FAILED}),
    _M.TRAINED: frozenset({_M.STARTING_HOSTING, _M.DELETING}),
    _M.TRAINING_FAILED: frozenset({_M.DELETING}),
    _M.STARTING_HOSTING: frozenset({_M.HOSTED, _M.HOSTING_FAILED, _M.STOPPING_HOSTING}),
    _M.HOSTED: frozenset({_M.STOPPING_HOSTING, _M.SYSTEM_UPDATING}),
    _M.HOSTING_FAILED: frozenset({_M.STARTING_HOSTING, _M.STOPPING_HOSTING, _M.DELETING}),
    _M.STOPPING_HOSTING: frozenset({_M.TRAINED}),
    _M.SYSTEM_UPDATING: frozenset({_M.HOSTED}),
    _M.DELETING: frozenset(),
}

DATASET_TRANSITIONS: Mapping[DatasetStatus, frozenset[DatasetStatus]] = {
    _D.CREATE_IN_PROGRESS: frozenset({_D.CREATE_COMPLETE, _D.CREATE_FAILED}),
    _D.CREATE_COMPLETE: frozenset({_D.UPDATE_IN_PROGRESS}),
    _D.CREATE_FAILED: frozenset(),
    _D.UPDATE_IN_PROGRESS: frozenset({_D.UPDATE_COMPLETE, _D.UPDATE_FAILED_ROLLBACK_IN_PROGRESS}),
    _D.UPDATE_COMPLETE: frozenset({_D.UPDATE_IN_PROGRESS}),
    _D.UPDATE_FAILED_ROLLBACK_IN_PROGRESS: frozenset({_D.UPDATE_FAILED_ROLLBACK_COMPLETE}),
    _D.UPDATE_FAILED_ROLLBACK_COMPLETE: frozenset({_D.UPDATE_IN_PROGRESS}),
}


def origins(transitions: Mapping[_Status, frozenset[_Status]], target: _Status) -> frozenset[_Status]:
    """The statuses from which `target` may be reached."""
    return frozenset(origin for origin, targets in transitions.items() if target in targets)


@dataclass(frozen=True)
class Project:
    """A project: the name under which data sets and model versions live."""

    name: str
    created: datetime


@dataclass(frozen=True)
class ImageCounts:
    """How many images a data set holds, as DescribeDataset reports them."""

    total: int = 0
    labeled: int = 0
    normal: int = 0
    anomaly: int = 0


@dataclass(frozen=True)
class Dataset:
    """A project's training or test data set; `id` outlives neither deletion nor re-creation under the same name."""

    id: str
    project: str
    type: str
    status: DatasetStatus
    message: str
    created: datetime
    updated: datetime
    counts: ImageCounts


@dataclass(frozen=True)
class Entry:
    """One image of a data set: its manifest line and what the line says. `label` is normal, anomaly or None."""

    source_ref: str
    line: str
    label: str | None
    has_mask: bool = False
    created: datetime = field(default_factory=now)


@dataclass(frozen=True)
class Performance:
    """The figures DescribeModel reports, each from 0 to 1."""

    f1: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Stored:
    """An object that was written: where, and the SHA-256 (hex) and length of its bytes."""

    bucket: str
    key: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Model:
    """One model version and everything DescribeModel tells about it."""

    project: str
    version: int
    status: ModelStatus
    message: str
    created: datetime
    output_bucket: str
    output_prefix: str | None = None
    description: str | None = None
    kms_key_id: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    performance: Performance | None = None
    evaluated: datetime | None = None
    evaluation_result: Stored | None = None
    evaluation_manifest: Stored | None = None
    artefact: Stored | None = None
    min_units: int | None = None
    max_units: int | None = None


@dataclass(frozen=True)
class Job:
    """A unit of work. `epoch` counts the claims; only the holder of the newest may finish the job."""

    id: str
    kind: str
    payload: Mapping[str, Any]
    status: JobStatus
    epoch: int
    attempts: int
    lease_until: datetime


@dataclass(frozen=True)
class Unit:
    """One wanted inference unit and the replica that fills it, if any. `address` is set once it takes requests.

    `pressed` is when its requests last waited too long, `succeeds` the slot of the unit that it comes in the place of.
    """

    project: str
    version: int
    slot: int
    wanted: bool
    host: str | None
    replica: str | None
    address: str | None
    lease_until: datetime
    failures: int
    failure: str | None
    pressed: datetime | None
    succeeds: int | None


@dataclass(frozen=True)
class Serving:
    """A model version as a detection needs it: its status, and (replica, address) of those that take requests now."""

    project: str
    version: int
    status: ModelStatus
    replicas: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Arns:
    """Writes and reads ARNs of one account in one region."""

    region: str
    account: str

    def project(self, name: str) -> str:
        """ARN of a project."""
        return f"arn:aws:lookoutvision:{self.region}:{self.account}:project/{name}"

    def model(self, project: str, version: int) -> str:
        """ARN of a model version."""
        return f"arn:aws:lookoutvision:{self.region}:{self.account}:model/{project}/{version}"

    def parse_model(self, arn: str) -> tuple[str, int] | None:
        """(project, version) of a model's ARN, whatever its region and account; None where it names no model."""
        parts = arn.split(":", 5)
        if len(parts) != 6 or parts[:1] + parts[2:3] != ["arn", "lookoutvision"]:
            return None
        kind, _, rest = parts[5].partition("/")
        project, _, version = rest.partition("/")
        if kind != "model" or not project or not _VERSION.fullmatch(version):
            return None
        return project, int(version)
