"""The whole flow of AWS's own Python SDK for the service, as its notebooks show it; run in its own environment.

In the working directory lie good/, bad/ (images to train with) and new/. Argument: the bucket. The last line printed
is what the test looks at. The package, boto3 and the servers are as they are; only the clock that the package waits
by runs faster: it sleeps 5 or 60 seconds after each look at a status, even at the last.
"""

import json
import sys
import time

from lookoutvision.image import Image
from lookoutvision.lookoutvision import LookoutForVision
from lookoutvision.manifest import Manifest
from lookoutvision.metrics import Metrics

slept = time.sleep
time.sleep = lambda seconds: slept(min(seconds, 0.5))

bucket = sys.argv[1]
seen = {}

images = Image()
seen["sizes"] = images.check_image_sizes()
seen["shapes"] = images.check_image_shapes()
images.upload_from_local(bucket, s3_path="plates/", train_and_test=False)
manifests = Manifest(bucket, s3_path="plates/", datasets=["training"]).push_manifests()

plates = LookoutForVision("plates")
seen["project"] = plates.create_project()
seen["again"] = plates.create_project()
seen["datasets"] = plates.create_datasets(manifests, wait=True)
seen["replaced"] = plates.update_datasets(manifests, wait=True)
seen["fit"] = plates.fit(bucket, model_prefix="evaluation/", wait=True)

metrics = Metrics("plates")
seen["metrics"] = metrics.describe_model()["Performance"].to_dict()
seen["all metrics"] = len(metrics.describe_models())
metrics.compare_models()

seen["deploy"] = plates.deploy(min_inf_units=1, wait=True)
seen["good"] = plates.predict(local_file="new/good.jpg")
seen["bad"] = plates.predict(bucket=bucket, key="new/bad.jpg")
seen["batch"] = plates.batch_predict(
    input_bucket=bucket, input_prefix="new/", output_bucket=bucket, output_prefix="predicted/"
)
seen["local batch"] = plates.batch_predict(local_path="new")
seen["stop"] = plates.stop_model(wait=True)

split = images.kfold_split(2)
images.kfold_upload(bucket, "folds", "plates", *split)
summary = plates.train_k_fold(bucket, bucket, "folds", n_splits=2, parallel_training=True)
seen["folds"] = summary.to_dict("records")
seen["projects"] = [project["ProjectName"] for project in plates.lv.list_projects()["Projects"]]

print()
print(json.dumps(seen, default=str))
