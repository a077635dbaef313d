"""Those who use the service while its parts are killed, and what each of them was told was done."""

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from storage.manifest import label_line
from tests.journey import BUCKET, WORKING

GONE = "gone"
_PAUSE = 0.1


def refused(error: Exception) -> bool:
    """Whether the answer says that nothing was done; else nobody knows."""
    if not isinstance(error, ClientError):
        return False
    status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status < 500


@dataclass
class Actor(ABC):
    """Does one step after the other in a thread of its own, from `start` to `stop`."""

    lookout: Any
    errors: list[Exception] = field(default_factory=list)

    def start(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    @abstractmethod
    def step(self) -> None:
        """What is done again and again."""

    def _run(self) -> None:
        while not self._ended.wait(_PAUSE):
            try:
                self.step()
            except (ClientError, BotoCoreError) as error:
                self.errors.append(error)


@dataclass
class Labeller(Actor):
    """Adds one entry after the other to the data set of the project `labels`."""

    acknowledged: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))
    _line: str | None = None

    def step(self) -> None:
        if self._line is None:
            source = f"s3://{BUCKET}/labels/{next(self._numbers):06}.png"
            self._line = label_line(source, "normal", "2026-01-01T00:00:00")
        line = self._line
        try:
            self.lookout.update_dataset_entries(ProjectName="labels", DatasetType="train", Changes=line.encode())
        except (ClientError, BotoCoreError) as error:
            if not refused(error):
                self.unknown.add(line)
                self._line = None
            raise
        self.acknowledged.append(line)
        self._line = None

    def verify(self, lookout: Any) -> None:
        """Every acknowledged entry is there once, in its order, and nothing that was never sent."""
        pages = lookout.get_paginator("list_dataset_entries").paginate(ProjectName="labels", DatasetType="train")
        entries = [json.loads(line) for page in pages for line in page["DatasetEntries"]]
        unknown = [json.loads(line) for line in self.unknown]
        assert [entry for entry in entries if entry not in unknown] == [json.loads(line) for line in self.acknowledged]


@dataclass
class Engineer(Actor):
    """Trains, tags, starts, stops and deletes one version of the project `plates` after the other."""

    allowed: dict[str, set[str]] = field(default_factory=dict)  # version → the states in which it may come to rest
    tagged: set[str] = field(default_factory=set)
    attempts: int = 0
    complaints: list[str] = field(default_factory=list)
    _version: str | None = None
    _done: set[str] = field(default_factory=set)

    def step(self) -> None:
        if self._version is None:
            self._create()
            return
        status = self._status(self._version)
        if status in ("TRAINING_FAILED", "HOSTING_FAILED"):
            self.complaints.append(f"{self._version} is {status}: {self._message(self._version)}")
            self._version = None
        elif status == GONE:
            self._version = None
        elif status == "TRAINED" and "tag" not in self._done:
            arn = f"arn:aws:lookoutvision:us-east-1:000000000000:model/plates/{self._version}"
            self.lookout.tag_resource(ResourceArn=arn, Tags=[{"Key": "line", "Value": "3"}])
            self.tagged.add(self._version)
            self._done.add("tag")
        elif status == "TRAINED" and "start" not in self._done:
            self._change("HOSTED", self.lookout.start_model, MinInferenceUnits=1)
            self._done.add("start")
        elif status == "HOSTED":
            self._change("TRAINED", self.lookout.stop_model)
        elif status == "TRAINED":
            self._change(GONE, self.lookout.delete_model)

    def settled(self, lookout: Any) -> bool:
        """Whether every version is in a state that lasts."""
        versions = lookout.list_models(ProjectName="plates", MaxResults=100)["Models"]
        return not any(version["Status"] in WORKING for version in versions)

    def verify(self, lookout: Any) -> None:
        """Every version is where the last acknowledged call put it, with its tags; none was made twice."""
        assert self.complaints == []
        found = {m["ModelVersion"]: m for m in lookout.list_models(ProjectName="plates", MaxResults=100)["Models"]}
        for version, allowed in self.allowed.items():
            status = found[version]["Status"] if version in found else GONE
            assert status in allowed, f"version {version} is {status}, but was left {' or '.join(sorted(allowed))}"
        assert len(set(found) | set(self.allowed)) <= self.attempts, f"{self.attempts} calls made {sorted(found)}"
        for version in self.tagged & set(found):
            tags = lookout.list_tags_for_resource(ResourceArn=found[version]["ModelArn"])["Tags"]
            assert tags == [{"Key": "line", "Value": "3"}]

    def _create(self) -> None:
        self.attempts += 1
        output = {"S3Location": {"Bucket": BUCKET, "Prefix": "evaluation/"}}
        try:
            made = self.lookout.create_model(ProjectName="plates", OutputConfig=output)["ModelMetadata"]
        except (ClientError, BotoCoreError) as error:
            if refused(error):
                self.attempts -= 1
            raise
        self._version, self._done = made["ModelVersion"], set()
        self.allowed[made["ModelVersion"]] = {"TRAINED"}

    def _change(self, to: str, call: Callable[..., Any], **parameters: Any) -> None:
        assert self._version is not None
        allowed = self.allowed[self._version]
        try:
            call(ProjectName="plates", ModelVersion=self._version, **parameters)
        except (ClientError, BotoCoreError) as error:
            if not refused(error):
                self.allowed[self._version] = {*allowed, to}
            raise
        self.allowed[self._version] = {to}

    def _status(self, version: str) -> str:
        try:
            described = self.lookout.describe_model(ProjectName="plates", ModelVersion=version)
        except self.lookout.exceptions.ResourceNotFoundException:
            return GONE
        status: str = described["ModelDescription"]["Status"]
        return status

    def _message(self, version: str) -> str:
        message: str = self.lookout.describe_model(ProjectName="plates", ModelVersion=version)["ModelDescription"][
            "StatusMessage"
        ]
        return message


@dataclass
class Camera(Actor):
    """Asks about the same part again and again, of version 1 of the project `kept`."""

    image: bytes = b""
    expected: dict[str, Any] = field(default_factory=dict)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    answers: int = 0

    def ask(self, lookout: Any) -> dict[str, Any]:
        answer = lookout.detect_anomalies(
            ProjectName="kept", ModelVersion="1", Body=self.image, ContentType="image/png"
        )
        result: dict[str, Any] = answer["DetectAnomalyResult"]
        return result

    def step(self) -> None:
        answer = self.ask(self.lookout)
        self.answers += 1
        if answer != self.expected:
            self.wrong.append(answer)

    def verify(self, lookout: Any) -> None:
        """No answer was another one, and the model answers."""
        assert self.wrong == []
        assert self.ask(lookout) == self.expected
