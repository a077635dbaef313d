"""The main job with the newest boto3, which knows the service by the files on AWS_DATA_PATH alone; run in its own
environment. Arguments: the bucket, and an image of a part with a defect. Prints what it saw as JSON.
"""

import json
import sys
import time

import boto3
from botocore.exceptions import ParamValidationError

bucket, image = sys.argv[1:]
lookout = boto3.client("lookoutvision")
working = ("_IN_PROGRESS", "TRAINING", "STARTING_HOSTING", "STOPPING_HOSTING", "DELETING")
model = {"ProjectName": "newest", "ModelVersion": "1"}
train = {"ProjectName": "newest", "DatasetType": "train"}
seen = {"version": boto3.__version__, "errors": {}}


def refused(call, **parameters):
    try:
        call(**parameters)
    except (lookout.exceptions.ClientError, ParamValidationError) as error:
        return type(error).__name__
    return None


def settled(call, **parameters):
    while True:
        (described,) = (value for name, value in call(**parameters).items() if name != "ResponseMetadata")
        if not described["Status"].endswith(working):
            return described
        time.sleep(0.2)


for name in ("newest", "newest-2", "newest-3"):
    lookout.create_project(ProjectName=name)
pages = lookout.get_paginator("list_projects").paginate(PaginationConfig={"PageSize": 1})
names = [project["ProjectName"] for page in pages for project in page["Projects"]]
seen["projects"] = [name for name in names if name.startswith("newest")]

try:
    lookout.create_project(ProjectName="newest")
except lookout.exceptions.ConflictException as error:
    seen["conflict"] = error.response["ResourceId"]
seen["errors"]["missing"] = refused(lookout.describe_project, ProjectName="nothing")
seen["errors"]["invalid"] = refused(lookout.create_project, ProjectName="not a name")
seen["errors"]["empty"] = refused(lookout.create_project, ProjectName="")
seen["errors"]["required"] = refused(lookout.detect_anomalies, **model, Body=b"")

source = {"GroundTruthManifest": {"S3Object": {"Bucket": bucket, "Key": "train.manifest"}}}
lookout.create_dataset(**train, DatasetSource=source)
seen["dataset"] = settled(lookout.describe_dataset, **train)
pages = lookout.get_paginator("list_dataset_entries").paginate(**train, PaginationConfig={"PageSize": 7})
seen["entries"] = [len(page["DatasetEntries"]) for page in pages]
with open(f"{image}.line", "rb") as changes:
    lookout.update_dataset_entries(**train, Changes=changes.read())
seen["updated"] = settled(lookout.describe_dataset, **train)

output = {"S3Location": {"Bucket": bucket, "Prefix": "evaluation/"}}
made = lookout.create_model(ProjectName="newest", OutputConfig=output, Tags=[{"Key": "line", "Value": "3"}])
seen["model"] = settled(lookout.describe_model, **model)
seen["models"] = lookout.get_paginator("list_models").paginate(ProjectName="newest").build_full_result()["Models"]
seen["tags"] = lookout.list_tags_for_resource(ResourceArn=made["ModelMetadata"]["ModelArn"])["Tags"]

lookout.start_model(**model, MinInferenceUnits=1)
seen["hosted"] = settled(lookout.describe_model, **model)["Status"]
with open(image, "rb") as body:
    found = lookout.detect_anomalies(**model, Body=body, ContentType="image/png")["DetectAnomalyResult"]
seen["mask"] = found.pop("AnomalyMask")[:8].hex()
seen["found"] = found
lookout.stop_model(**model)
seen["stopped"] = settled(lookout.describe_model, **model)["Status"]

print(json.dumps(seen, default=str))
