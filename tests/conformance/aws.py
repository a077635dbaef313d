"""AWS's own service model, from the pinned botocore: the oracle of these tests."""

from collections.abc import Mapping
from typing import Any

from botocore.loaders import Loader

AWS: Mapping[str, Any] = Loader().load_service_model("lookoutvision", "service-2")
PAGINATORS: Mapping[str, Any] = Loader().load_service_model("lookoutvision", "paginators-1")["pagination"]
PACKAGING = {"StartModelPackagingJob", "DescribeModelPackagingJob", "ListModelPackagingJobs"}
