"""DetectAnomalies: one image in, one decision out."""

from typing import Annotated

from fastapi import Header, Request, Response
from starlette.requests import ClientDisconnect

from api import shapes
from api.deps import CallerDep, DetectionsDep, ReplicasDep, Stream, number
from api.errors import ValidationException
from api.operation import operation
from storage.records import Role
from storage.replica_call import CLIENT_LEFT, EXPLAIN_HEADER, TIMING_HEADER, while_wanted

MAGIC = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}


@operation("POST", "/projects/{projectName}/models/{modelVersion}/detect", role=Role.INSPECTOR)
async def detect_anomalies(
    projectName: shapes.ProjectNameText,
    modelVersion: shapes.ModelVersionName,
    contentType: Annotated[shapes.ContentType, Header(alias="Content-Type")],
    body: Stream,
    request: Request,
    caller: CallerDep,
    replicas: ReplicasDep,
    detections: DetectionsDep,
    explain: Annotated[str | None, Header(alias=EXPLAIN_HEADER, include_in_schema=False)] = None,
) -> shapes.DetectAnomaliesResponse:
    """Tell whether the image in the body shows an anomaly, how sure that is and, for segmentation models, where."""
    serving = await replicas.find(projectName, number(modelVersion))
    try:
        with detections.watch(serving, request.state.request_id, caller.key) as watched:
            type_ = _checked_type(contentType, body)
            headers = {"Content-Type": type_} | ({EXPLAIN_HEADER: explain} if explain else {})
            answer = watched.answer = await while_wanted(request, replicas.detect(serving, body, headers))
    except ClientDisconnect:
        return Response(status_code=CLIENT_LEFT)  # type: ignore[return-value]
    # The replica's answer has this shape already; it is passed on as it is.
    return Response(answer.body, media_type="application/json", headers={TIMING_HEADER: answer.timing})  # type: ignore[return-value]


def _checked_type(content_type: str, body: bytes) -> str:
    """The Content-Type, where it is allowed and the body is what it says. Raises ValidationException."""
    type_ = content_type.partition(";")[0].strip().lower()
    if type_ not in MAGIC:
        raise ValidationException(f"Content-Type must be one of {', '.join(MAGIC)} (it is '{content_type}')")
    if not body:
        raise ValidationException("the body is empty; it must be the bytes of a JPEG or PNG image")
    if not body.startswith(MAGIC[type_]):
        other = next((name for name, magic in MAGIC.items() if body.startswith(magic)), None)
        found = f"is {other}" if other else "is neither a JPEG nor a PNG image"
        raise ValidationException(f"Content-Type is {type_}, but the body {found}")
    return type_
