"""Every shape of the API once, as AWS names and bounds it (service model of Lookout for Vision, version 2020-11-20)."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from api.text import Blob, Text
from storage.records import DatasetStatus, ModelStatus

_TAG = r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$"
_KEY = r"^([a-zA-Z0-9!_.*'()-][/a-zA-Z0-9!_.*'()-]*)?$"
_KEY_SAYS = "up to 1024 letters, digits, / and ! _ . * ' ( ) -, not starting with /"

AnomalyClassFilter = Annotated[str, Text("normal or anomaly", 1, 10, "(normal|anomaly)")]
AnomalyName = Annotated[str, Text("1 to 256 letters and digits", 1, 256, "[a-zA-Z0-9]*")]
ClientToken = Annotated[str, Text("1 to 64 letters, digits and -", 1, 64, "^[a-zA-Z0-9-]+$")]
Color = Annotated[str, Text("# and six letters or digits", 7, 7, r"\#[a-zA-Z0-9]{6}")]
ContentType = Annotated[str, Text("1 to 255 characters", 1, 255, ".*")]
DatasetEntry = Annotated[str, Text("a JSON object of 2 to 8192 characters", 2, 8192, r"^\{.*\}$")]
DatasetTypeName = Annotated[str, Text("train or test", 1, 10, "train|test")]
ImageSourceType = Annotated[str, Text("direct", pattern="direct")]
KmsKeyName = Annotated[
    str,
    Text("1 to 2048 letters, digits and : _ / + = , @ . -", 1, 2048, "^[A-Za-z0-9][A-Za-z0-9:_/+=,@.-]{0,2048}$"),
]
ModelDescriptionMessage = Annotated[
    str, Text("1 to 500 letters, digits, '.', '-' and '_', no spaces", 1, 500, r"[0-9A-Za-z\.\-_]*")
]
ModelVersionName = Annotated[str, Text("a version number or latest", 1, 10, "([1-9][0-9]*|latest)")]
ModelVersionNoLatest = Annotated[str, Text("a version number", 1, 10, "([1-9][0-9]*)")]
PaginationToken = Annotated[str, Text("the NextToken of an earlier answer", 0, 2048, r"^[a-zA-Z0-9\/\+\=]{0,2048}$")]
_NAME_SAYS = "1 to 255 letters, digits, '-' and '_', starting with a letter or digit"
ProjectNameText = Annotated[str, Text(_NAME_SAYS, 1, 255, r"[a-zA-Z0-9][a-zA-Z0-9_\-]*")]
QueryString = Annotated[str, Text("1 to 2048 characters, not only spaces", 1, 2048, r".*\S.*")]
S3BucketName = Annotated[str, Text("3 to 63 letters, digits, '.', '-' and '_'", 3, 63, r"[0-9A-Za-z\.\-_]*")]
S3KeyPrefix = Annotated[str, Text(_KEY_SAYS, 0, 1024, _KEY)]
S3ObjectKey = Annotated[str, Text(_KEY_SAYS, 1, 1024, _KEY)]
S3ObjectVersion = Annotated[str, Text("1 to 1024 characters", 1, 1024, ".*")]
TagArn = Annotated[str, Text("the ARN of a model", 1, 1011)]
TagKey = Annotated[str, Text("1 to 128 letters, digits, spaces and _ . : / = + - @", 1, 128, _TAG)]
TagValue = Annotated[str, Text("up to 256 letters, digits, spaces and _ . : / = + - @", 0, 256, _TAG)]
InferenceUnits = Annotated[int, Field(ge=1, strict=True)]
PageSize = Annotated[int, Field(ge=1, le=100)]
Timestamp = Annotated[
    datetime, PlainSerializer(lambda moment: round(moment.timestamp(), 3), return_type=float, when_used="json")
]
# A time without an offset is one in UTC, whatever the server's clock shows.
QueryTime = Annotated[datetime, AfterValidator(lambda moment: moment if moment.tzinfo else moment.replace(tzinfo=UTC))]
DatasetChanges = Annotated[bytes, Blob("1 to 10,485,760 bytes in base64; send more in several calls", 1, 10_485_760)]
AnomalyMaskPng = Annotated[bytes, Blob("the bytes of a PNG image", 1, 5_242_880)]
ModelHostingStatus = Literal["STARTING_HOSTING", "HOSTED", "HOSTING_FAILED", "STOPPING_HOSTING", "SYSTEM_UPDATING"]


class ResourceType(StrEnum):
    """What an error may be about."""

    PROJECT = "PROJECT"
    DATASET = "DATASET"
    MODEL = "MODEL"
    TRIAL = "TRIAL"
    MODEL_PACKAGE_JOB = "MODEL_PACKAGE_JOB"


class Shape(BaseModel):
    """Base of all structures: members that are not known are passed over, as AWS does."""

    model_config = ConfigDict(extra="ignore")


class InputS3Object(Shape):
    Bucket: S3BucketName
    Key: S3ObjectKey
    VersionId: S3ObjectVersion | None = None


class DatasetGroundTruthManifest(Shape):
    S3Object: InputS3Object | None = None


class DatasetSource(Shape):
    GroundTruthManifest: DatasetGroundTruthManifest | None = None


class DatasetImageStats(Shape):
    Total: int
    Labeled: int
    Normal: int
    Anomaly: int


class DatasetMetadata(Shape):
    DatasetType: DatasetTypeName
    CreationTimestamp: Timestamp
    Status: DatasetStatus
    StatusMessage: str


class DatasetDescription(Shape):
    ProjectName: ProjectNameText
    DatasetType: DatasetTypeName
    CreationTimestamp: Timestamp
    LastUpdatedTimestamp: Timestamp
    Status: DatasetStatus
    StatusMessage: str
    ImageStats: DatasetImageStats


class ProjectMetadata(Shape):
    ProjectArn: str
    ProjectName: ProjectNameText
    CreationTimestamp: Timestamp


class ProjectDescription(Shape):
    ProjectArn: str
    ProjectName: ProjectNameText
    CreationTimestamp: Timestamp
    Datasets: list[DatasetMetadata]


class S3Location(Shape):
    Bucket: S3BucketName
    Prefix: S3KeyPrefix | None = None


class OutputConfig(Shape):
    S3Location: S3Location


class OutputS3Object(Shape):
    Bucket: S3BucketName
    Key: S3ObjectKey


class ModelPerformance(Shape):
    F1Score: float
    Recall: float
    Precision: float


class Tag(Shape):
    Key: TagKey
    Value: TagValue


TagList = Annotated[list[Tag], Field(max_length=200)]
TagKeyList = Annotated[list[TagKey], Field(max_length=200)]


class ModelMetadata(Shape):
    CreationTimestamp: Timestamp
    ModelVersion: ModelVersionName
    ModelArn: str
    Description: ModelDescriptionMessage | None = None
    Status: ModelStatus
    StatusMessage: str
    Performance: ModelPerformance | None = None


class ModelDescription(Shape):
    ModelVersion: ModelVersionName
    ModelArn: str
    CreationTimestamp: Timestamp
    Description: ModelDescriptionMessage | None = None
    Status: ModelStatus
    StatusMessage: str
    Performance: ModelPerformance | None = None
    OutputConfig: OutputConfig
    EvaluationManifest: OutputS3Object | None = None
    EvaluationResult: OutputS3Object | None = None
    EvaluationEndTimestamp: Timestamp | None = None
    KmsKeyId: KmsKeyName | None = None
    MinInferenceUnits: InferenceUnits | None = None
    MaxInferenceUnits: InferenceUnits | None = None


class ImageSource(Shape):
    Type: ImageSourceType


class PixelAnomaly(Shape):
    TotalPercentageArea: float
    Color: Color


class Anomaly(Shape):
    Name: AnomalyName
    PixelAnomaly: PixelAnomaly


class DetectAnomalyResult(Shape):
    Source: ImageSource
    IsAnomalous: bool
    Confidence: float
    Anomalies: list[Anomaly] | None = None
    AnomalyMask: AnomalyMaskPng | None = None


class CreateProjectRequest(Shape):
    ProjectName: ProjectNameText


class CreateDatasetRequest(Shape):
    DatasetType: DatasetTypeName
    DatasetSource: Annotated[DatasetSource | None, Field(default=None)]


class UpdateDatasetEntriesRequest(Shape):
    Changes: DatasetChanges


class CreateModelRequest(Shape):
    Description: ModelDescriptionMessage | None = None
    OutputConfig: OutputConfig
    KmsKeyId: KmsKeyName | None = None
    Tags: TagList | None = None


class StartModelRequest(Shape):
    MinInferenceUnits: InferenceUnits
    MaxInferenceUnits: InferenceUnits | None = None


class TagResourceRequest(Shape):
    Tags: TagList


class Response(Shape):
    """Base of all answers."""


class CreateProjectResponse(Response):
    ProjectMetadata: ProjectMetadata


class DescribeProjectResponse(Response):
    ProjectDescription: ProjectDescription


class ListProjectsResponse(Response):
    Projects: list[ProjectMetadata]
    NextToken: PaginationToken | None = None


class DeleteProjectResponse(Response):
    ProjectArn: str


class CreateDatasetResponse(Response):
    DatasetMetadata: DatasetMetadata


class DescribeDatasetResponse(Response):
    DatasetDescription: DatasetDescription


class ListDatasetEntriesResponse(Response):
    DatasetEntries: list[DatasetEntry]
    NextToken: PaginationToken | None = None


class UpdateDatasetEntriesResponse(Response):
    Status: DatasetStatus


class EmptyResponse(Response):
    """Answers of operations that return no member: DeleteDataset, TagResource, UntagResource."""


class CreateModelResponse(Response):
    ModelMetadata: ModelMetadata


class DescribeModelResponse(Response):
    ModelDescription: ModelDescription


class ListModelsResponse(Response):
    Models: list[ModelMetadata]
    NextToken: PaginationToken | None = None


class DeleteModelResponse(Response):
    ModelArn: str


class ModelHostingResponse(Response):
    """Answers of StartModel and StopModel."""

    Status: ModelHostingStatus


class DetectAnomaliesResponse(Response):
    DetectAnomalyResult: DetectAnomalyResult


class ListTagsForResourceResponse(Response):
    Tags: TagList
