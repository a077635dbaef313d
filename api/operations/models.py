"""Operations on model versions."""

from api import shapes
from api.deps import StoresDep, find_model
from api.errors import ConflictException, ServiceQuotaExceededException, ValidationException
from api.operation import QUOTA, operation
from api.operations.projects import MaxResults, NextToken
from api.paging import DEFAULT_PAGE, next_token, number_cursor
from storage import messages
from storage.errors import DataKeyError
from storage.jobs import DELETE, TRAIN
from storage.manifest import write_manifest
from storage.objects import OWN_BUCKET, evaluation_key, snapshot_key
from storage.options import PREFIX, parse_options
from storage.records import Dataset, DatasetStatus, Model, ModelStatus, Performance, Stored, now
from storage.stores import Stores

USABLE = (
    DatasetStatus.CREATE_COMPLETE,
    DatasetStatus.UPDATE_COMPLETE,
    DatasetStatus.UPDATE_FAILED_ROLLBACK_COMPLETE,
)


@operation("POST", "/projects/{projectName}/models", status=202, errors=QUOTA, token=True)
def create_model(
    projectName: shapes.ProjectNameText, body: shapes.CreateModelRequest, stores: StoresDep
) -> shapes.CreateModelResponse:
    """Queue the training of the project's next model version, on its data sets as they are now."""
    tags = tags_of(body.Tags or [])
    _check_key(body.KmsKeyId, stores)
    datasets = {dataset.type: dataset for dataset in stores.catalogue.datasets(projectName)}
    _check_datasets(projectName, datasets, stores)
    _check_quota(stores)
    version = stores.catalogue.next_version(projectName)
    location = body.OutputConfig.S3Location
    # Asked before the training, not found out after it: raises ObjectError where nothing can be stored there.
    stores.objects.size(location.Bucket, evaluation_key(location.Prefix, "Manifest", projectName, version))
    model = Model(
        project=projectName,
        version=version,
        status=ModelStatus.TRAINING,
        message=messages.MODEL_TRAINING,
        created=now(),
        output_bucket=location.Bucket,
        output_prefix=location.Prefix,
        description=body.Description,
        kms_key_id=body.KmsKeyId,
        options={key: value for key, value in tags.items() if key.startswith(PREFIX)},
    )
    stores.catalogue.create_model(model, tags)
    payload: dict[str, str | int | None] = {"project": projectName, "version": version, "train": None, "test": None}
    for type_, dataset in datasets.items():
        entries = [entry for _, entry in stores.catalogue.entries(dataset)]
        payload[type_] = snapshot_key(projectName, version, type_)
        stores.objects.put(OWN_BUCKET, snapshot_key(projectName, version, type_), write_manifest(entries))
    stores.jobs.submit(TRAIN, payload)
    return shapes.CreateModelResponse(ModelMetadata=_metadata(model, stores))


@operation("GET", "/projects/{projectName}/models/{modelVersion}")
def describe_model(
    projectName: shapes.ProjectNameText, modelVersion: shapes.ModelVersionName, stores: StoresDep
) -> shapes.DescribeModelResponse:
    """Tell about a model version: its status, and its figures once it is trained."""
    model = find_model(projectName, modelVersion, stores)
    description = shapes.ModelDescription(
        ModelVersion=str(model.version),
        ModelArn=stores.arns.model(model.project, model.version),
        CreationTimestamp=model.created,
        Description=model.description,
        Status=model.status,
        StatusMessage=model.message,
        Performance=_performance(model.performance),
        OutputConfig=shapes.OutputConfig(
            S3Location=shapes.S3Location(Bucket=model.output_bucket, Prefix=model.output_prefix or "")
        ),
        EvaluationManifest=_place(model.evaluation_manifest),
        EvaluationResult=_place(model.evaluation_result),
        EvaluationEndTimestamp=model.evaluated,
        KmsKeyId=model.kms_key_id,
        MinInferenceUnits=model.min_units,
        MaxInferenceUnits=model.max_units,
    )
    return shapes.DescribeModelResponse(ModelDescription=description)


@operation("GET", "/projects/{projectName}/models")
def list_models(
    projectName: shapes.ProjectNameText,
    stores: StoresDep,
    nextToken: NextToken = None,
    maxResults: MaxResults = DEFAULT_PAGE,
) -> shapes.ListModelsResponse:
    """List the model versions of a project, newest first."""
    found = stores.catalogue.models(projectName, number_cursor(nextToken), maxResults + 1)
    page = found[:maxResults]
    return shapes.ListModelsResponse(
        Models=[_metadata(model, stores) for model in page],
        NextToken=next_token(page[-1].version) if len(found) > len(page) else None,
    )


@operation("DELETE", "/projects/{projectName}/models/{modelVersion}", status=202, token=True)
def delete_model(
    projectName: shapes.ProjectNameText, modelVersion: shapes.ModelVersionNoLatest, stores: StoresDep
) -> shapes.DeleteModelResponse:
    """Remove a model version that is neither in training nor hosted. Its evaluation files stay."""
    model = find_model(projectName, modelVersion, stores)
    stores.catalogue.move_model(model, ModelStatus.DELETING, messages.MODEL_DELETING)
    stores.jobs.submit(DELETE, {"project": model.project, "version": model.version})
    return shapes.DeleteModelResponse(ModelArn=stores.arns.model(model.project, model.version))


def tags_of(tags: list[shapes.Tag]) -> dict[str, str]:
    """Tags as a mapping. Raises ValidationException for a key given twice or a `vigil:` tag that cannot be used."""
    found: dict[str, str] = {}
    for tag in tags:
        if tag.Key in found:
            raise ValidationException(f"the tag '{tag.Key}' is given twice")
        found[tag.Key] = tag.Value
    try:
        parse_options(found)
    except ValueError as error:
        raise ValidationException(str(error)) from None
    return found


def _check_key(key_id: str | None, stores: Stores) -> None:
    if key_id is not None:
        try:
            stores.data_keys.read(key_id)
        except DataKeyError as error:
            raise ValidationException(
                f"KmsKeyId cannot be used: {error}. Data keys lie in {stores.data_keys.folder} on the machine that "
                "Vigil runs on; `vigil kms create NAME` makes one there"
            ) from None


def _check_datasets(project: str, datasets: dict[str, Dataset], stores: Stores) -> None:
    settings = stores.settings
    if "train" not in datasets:
        raise ConflictException(
            f"project '{project}' has no train data set; create it first", ResourceId=project, ResourceType="DATASET"
        )
    for type_, dataset in datasets.items():
        if dataset.status not in USABLE:
            raise ConflictException(
                f"the {type_} data set of project '{project}' is {dataset.status}: {dataset.message}",
                ResourceId=f"{project}/{type_}",
                ResourceType="DATASET",
            )
    if "test" in datasets:
        needed = {"train": (settings.min_normal_images_with_test, 0), "test": (settings.min_test_images,) * 2}
    else:
        needed = {"train": (settings.min_normal_images, settings.min_anomaly_images)}
    for type_, (normal, anomaly) in needed.items():
        counts = datasets[type_].counts
        if counts.normal < normal or counts.anomaly < anomaly:
            raise ValidationException(
                f"the {type_} data set of project '{project}' has {counts.normal} normal and {counts.anomaly} "
                f"anomalous images, and {counts.total - counts.labeled} without a label; a training needs at least "
                f"{normal} normal and {anomaly} anomalous ones"
                + ("" if "test" in datasets else " where there is no test data set")
            )


def _check_quota(stores: Stores) -> None:
    running = stores.catalogue.count_models(ModelStatus.TRAINING)
    if running >= stores.settings.max_concurrent_trainings and not stores.settings.queue_trainings:
        raise ServiceQuotaExceededException(
            f"{running} models are in training; {stores.settings.max_concurrent_trainings} may be at once. "
            "Wait for one to end, or set VIGIL_QUEUE_TRAININGS",
            "max-concurrent-trainings",
            ResourceType="MODEL",
        )


def _metadata(model: Model, stores: Stores) -> shapes.ModelMetadata:
    return shapes.ModelMetadata(
        CreationTimestamp=model.created,
        ModelVersion=str(model.version),
        ModelArn=stores.arns.model(model.project, model.version),
        Description=model.description,
        Status=model.status,
        StatusMessage=model.message,
        Performance=_performance(model.performance),
    )


def _performance(found: Performance | None) -> shapes.ModelPerformance | None:
    if found is None:
        return None
    return shapes.ModelPerformance(F1Score=found.f1, Recall=found.recall, Precision=found.precision)


def _place(stored: Stored | None) -> shapes.OutputS3Object | None:
    return None if stored is None else shapes.OutputS3Object(Bucket=stored.bucket, Key=stored.key)
