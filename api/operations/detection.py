"""DetectAnomalies: one image in, one decision out."""

from typing import Annotated

from fastapi import Header, Response
from starlette.concurrency import run_in_threadpool

from api import shapes
from api.deps import ReplicasDep, StoresDep, Stream, find_model
from api.errors import ValidationException
from api.operation import operation
from storage.records import Role
from storage.replica_call import EXPLAIN_HEADER

MAGIC = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}


@operation("POST", "/projects/{projectName}/models/{modelVersion}/detect", role=Role.INSPECTOR)
async def detect_anomalies(
    projectName: shapes.ProjectNameText,
    modelVersion: shapes.ModelVersionName,
    contentType: Annotated[shapes.ContentType, Header(alias="Content-Type")],
    body: Stream,
    stores: StoresDep,
    replicas: ReplicasDep,
    explain: Annotated[str | None, Header(alias=EXPLAIN_HEADER, include_in_schema=False)] = None,
) -> shapes.DetectAnomaliesResponse:
    """Tell whether the image in the body shows an anomaly, how sure that is and, for segmentation models, where."""
    type_ = contentType.partition(";")[0].strip().lower()
    if type_ not in MAGIC:
        raise ValidationException(f"Content-Type must be one of {', '.join(MAGIC)} (it is '{contentType}')")
    if not body:
        raise ValidationException("the body is empty; it must be the bytes of a JPEG or PNG image")
    if not body.startswith(MAGIC[type_]):
        other = next((name for name, magic in MAGIC.items() if body.startswith(magic)), None)
        found = f"is {other}" if other else "is neither a JPEG nor a PNG image"
        raise ValidationException(f"Content-Type is {type_}, but the body {found}")
    model = await run_in_threadpool(find_model, projectName, modelVersion, stores)
    headers = {"Content-Type": type_} | ({EXPLAIN_HEADER: explain} if explain else {})
    answer = await replicas.detect(model.project, model.version, body, headers)
    # The replica's answer has this shape already; it is passed on as it is.
    return Response(answer, media_type="application/json")  # type: ignore[return-value]
