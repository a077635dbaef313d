"""One call of every operation, with parameters that AWS's client lets pass; all are about the project `p`."""

from typing import Any

ARN = "arn:aws:lookoutvision:us-east-1:000000000000:model/p/1"
PROJECT: dict[str, Any] = {"ProjectName": "p"}
MODEL = PROJECT | {"ModelVersion": "1"}
DATASET = PROJECT | {"DatasetType": "train"}
CALLS: dict[str, dict[str, Any]] = {
    "CreateProject": PROJECT,
    "DescribeProject": PROJECT,
    "ListProjects": {},
    "DeleteProject": PROJECT,
    "CreateDataset": DATASET,
    "DescribeDataset": DATASET,
    "DeleteDataset": DATASET,
    "ListDatasetEntries": DATASET,
    "UpdateDatasetEntries": DATASET | {"Changes": b"{}"},
    "CreateModel": PROJECT | {"OutputConfig": {"S3Location": {"Bucket": "plant"}}},
    "DescribeModel": MODEL,
    "ListModels": PROJECT,
    "DeleteModel": MODEL,
    "StartModel": MODEL | {"MinInferenceUnits": 1},
    "StopModel": MODEL,
    "DetectAnomalies": MODEL | {"Body": b"\xff\xd8\xff", "ContentType": "image/jpeg"},
    "TagResource": {"ResourceArn": ARN, "Tags": []},
    "UntagResource": {"ResourceArn": ARN, "TagKeys": ["a"]},
    "ListTagsForResource": {"ResourceArn": ARN},
}
