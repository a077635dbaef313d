"""Operations on data sets and their entries."""

import uuid
from typing import Annotated

from fastapi import Query

from api import shapes
from api.deps import StoresDep
from api.errors import ValidationException
from api.operation import QUOTA, operation
from api.operations.projects import MaxResults, NextToken, dataset_metadata
from api.paging import DEFAULT_PAGE, next_token, number_cursor
from storage import messages
from storage.catalogue import EntryFilter
from storage.jobs import IMPORT
from storage.objects import OWN_BUCKET, changes_key
from storage.records import DatasetStatus


@operation("POST", "/projects/{projectName}/datasets", status=202, errors=QUOTA, token=True)
def create_dataset(
    projectName: shapes.ProjectNameText, body: shapes.CreateDatasetRequest, stores: StoresDep
) -> shapes.CreateDatasetResponse:
    """Make a training or test data set: empty at once, or from a manifest by a job."""
    manifest = body.DatasetSource.GroundTruthManifest if body.DatasetSource else None
    source = manifest.S3Object if manifest else None
    if body.DatasetSource is not None and source is None:
        raise ValidationException("DatasetSource.GroundTruthManifest.S3Object is required where DatasetSource is given")
    status, message = (
        (DatasetStatus.CREATE_COMPLETE, messages.DATASET_CREATED)
        if source is None
        else (DatasetStatus.CREATE_IN_PROGRESS, messages.DATASET_CREATING)
    )
    dataset = stores.catalogue.create_dataset(projectName, body.DatasetType, status, message)
    if source is not None:
        place = {"bucket": source.Bucket, "key": source.Key, "version": source.VersionId}
        stores.jobs.submit(IMPORT, {"dataset": dataset.id, "source": place})
    return shapes.CreateDatasetResponse(DatasetMetadata=dataset_metadata(dataset))


@operation("GET", "/projects/{projectName}/datasets/{datasetType}")
def describe_dataset(
    projectName: shapes.ProjectNameText, datasetType: shapes.DatasetTypeName, stores: StoresDep
) -> shapes.DescribeDatasetResponse:
    """Tell about a data set: its status and how many images it has."""
    dataset = stores.catalogue.dataset(projectName, datasetType)
    counts = dataset.counts
    description = shapes.DatasetDescription(
        ProjectName=dataset.project,
        DatasetType=dataset.type,
        CreationTimestamp=dataset.created,
        LastUpdatedTimestamp=dataset.updated,
        Status=dataset.status,
        StatusMessage=dataset.message,
        ImageStats=shapes.DatasetImageStats(
            Total=counts.total, Labeled=counts.labeled, Normal=counts.normal, Anomaly=counts.anomaly
        ),
    )
    return shapes.DescribeDatasetResponse(DatasetDescription=description)


@operation("DELETE", "/projects/{projectName}/datasets/{datasetType}", status=202, token=True)
def delete_dataset(
    projectName: shapes.ProjectNameText, datasetType: shapes.DatasetTypeName, stores: StoresDep
) -> shapes.EmptyResponse:
    """Remove a data set with its entries, at once; the images stay where they are."""
    stores.catalogue.delete_dataset(projectName, datasetType)
    return shapes.EmptyResponse()


@operation("GET", "/projects/{projectName}/datasets/{datasetType}/entries")
def list_dataset_entries(
    projectName: shapes.ProjectNameText,
    datasetType: shapes.DatasetTypeName,
    stores: StoresDep,
    labeled: Annotated[bool | None, Query()] = None,
    anomalyClass: Annotated[shapes.AnomalyClassFilter | None, Query()] = None,
    beforeCreationDate: Annotated[shapes.QueryTime | None, Query(alias="createdBefore")] = None,
    afterCreationDate: Annotated[shapes.QueryTime | None, Query(alias="createdAfter")] = None,
    nextToken: NextToken = None,
    maxResults: MaxResults = DEFAULT_PAGE,
    sourceRefContains: Annotated[shapes.QueryString | None, Query()] = None,
) -> shapes.ListDatasetEntriesResponse:
    """List the manifest lines of a data set. Dates are those at which an entry was added or last changed."""
    dataset = stores.catalogue.dataset(projectName, datasetType)
    only = EntryFilter(labeled, anomalyClass, beforeCreationDate, afterCreationDate, sourceRefContains)
    found = stores.catalogue.entries(dataset, only, number_cursor(nextToken) or 0, maxResults + 1)
    page = found[:maxResults]
    return shapes.ListDatasetEntriesResponse(
        DatasetEntries=[entry.line for _, entry in page],
        NextToken=next_token(page[-1][0]) if len(found) > len(page) else None,
    )


@operation("PATCH", "/projects/{projectName}/datasets/{datasetType}/entries", status=202, token=True)
def update_dataset_entries(
    projectName: shapes.ProjectNameText,
    datasetType: shapes.DatasetTypeName,
    body: shapes.UpdateDatasetEntriesRequest,
    stores: StoresDep,
) -> shapes.UpdateDatasetEntriesResponse:
    """Add entries, or replace those with the same source-ref, by a job: all of the changes, or none."""
    dataset = stores.catalogue.dataset(projectName, datasetType)
    stores.catalogue.move_dataset(dataset, DatasetStatus.UPDATE_IN_PROGRESS, messages.DATASET_UPDATING)
    job = str(uuid.uuid4())
    stores.database.after_rollback(lambda: stores.objects.delete(OWN_BUCKET, changes_key(job)))
    stores.objects.put(OWN_BUCKET, changes_key(job), body.Changes)
    stores.jobs.submit(IMPORT, {"dataset": dataset.id, "changes": changes_key(job)}, job)
    return shapes.UpdateDatasetEntriesResponse(Status=DatasetStatus.UPDATE_IN_PROGRESS)
