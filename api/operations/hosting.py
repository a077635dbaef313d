"""Operations that start and stop the hosting of a model."""

from api import shapes
from api.deps import StoresDep, find_model
from api.errors import ServiceQuotaExceededException, ValidationException
from api.operation import QUOTA, operation
from storage.records import ModelStatus, Role


@operation(
    "POST",
    "/projects/{projectName}/models/{modelVersion}/start",
    status=202,
    errors=QUOTA,
    role=Role.OPERATOR,
    token=True,
    state_wins=frozenset({ModelStatus.STARTING_HOSTING, ModelStatus.HOSTED}),
)
def start_model(
    projectName: shapes.ProjectNameText,
    modelVersion: shapes.ModelVersionName,
    body: shapes.StartModelRequest,
    stores: StoresDep,
) -> shapes.ModelHostingResponse:
    """Start as many inference replicas of a trained model as inference units are asked for."""
    most = stores.settings.max_inference_units
    units, largest = body.MinInferenceUnits, body.MaxInferenceUnits
    if largest is not None and largest < units:
        raise ValidationException(f"MaxInferenceUnits is {largest}, less than MinInferenceUnits, which is {units}")
    if max(units, largest or 0) > most:
        raise ServiceQuotaExceededException(
            f"{max(units, largest or 0)} inference units were asked for; a model may have {most} "
            "(setting VIGIL_MAX_INFERENCE_UNITS)",
            "max-inference-units",
            ResourceType="MODEL",
        )
    stores.hosting.start(find_model(projectName, modelVersion, stores), units, largest)
    return shapes.ModelHostingResponse(Status="STARTING_HOSTING")


@operation(
    "POST",
    "/projects/{projectName}/models/{modelVersion}/stop",
    status=202,
    role=Role.OPERATOR,
    token=True,
    state_wins=frozenset({ModelStatus.STOPPING_HOSTING, ModelStatus.TRAINED}),
)
def stop_model(
    projectName: shapes.ProjectNameText, modelVersion: shapes.ModelVersionName, stores: StoresDep
) -> shapes.ModelHostingResponse:
    """Stop the replicas of a model, also of one that is still starting."""
    stores.hosting.stop(find_model(projectName, modelVersion, stores))
    return shapes.ModelHostingResponse(Status="STOPPING_HOSTING")
