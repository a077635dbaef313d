"""Operations on projects."""

from typing import Annotated

from fastapi import Query

from api import shapes
from api.deps import CallerDep, StoresDep
from api.operation import QUOTA, operation
from api.paging import DEFAULT_PAGE, cursor, next_token
from storage.records import Dataset, Project
from storage.stores import Stores

NextToken = Annotated[shapes.PaginationToken | None, Query(alias="nextToken")]
MaxResults = Annotated[shapes.PageSize, Query(alias="maxResults")]


@operation("POST", "/projects", errors=QUOTA, token=True)
def create_project(body: shapes.CreateProjectRequest, stores: StoresDep) -> shapes.CreateProjectResponse:
    """Make a project, under which data sets and model versions are kept."""
    project = stores.catalogue.create_project(body.ProjectName)
    return shapes.CreateProjectResponse(ProjectMetadata=_metadata(project, stores))


@operation("GET", "/projects/{projectName}")
def describe_project(projectName: shapes.ProjectNameText, stores: StoresDep) -> shapes.DescribeProjectResponse:
    """Tell about a project and its data sets."""
    project = stores.catalogue.project(projectName)
    description = shapes.ProjectDescription(
        ProjectArn=stores.arns.project(project.name),
        ProjectName=project.name,
        CreationTimestamp=project.created,
        Datasets=[dataset_metadata(dataset) for dataset in stores.catalogue.datasets(project.name)],
    )
    return shapes.DescribeProjectResponse(ProjectDescription=description)


@operation("GET", "/projects", narrows=True)
def list_projects(
    stores: StoresDep, caller: CallerDep, nextToken: NextToken = None, maxResults: MaxResults = DEFAULT_PAGE
) -> shapes.ListProjectsResponse:
    """List the projects in the order of their names."""
    found = stores.catalogue.projects(cursor(nextToken) or "", maxResults + 1, caller.projects)
    page = found[:maxResults]
    return shapes.ListProjectsResponse(
        Projects=[_metadata(project, stores) for project in page],
        NextToken=next_token(page[-1].name) if len(found) > len(page) else None,
    )


@operation("DELETE", "/projects/{projectName}", token=True)
def delete_project(projectName: shapes.ProjectNameText, stores: StoresDep) -> shapes.DeleteProjectResponse:
    """Remove a project that has neither data sets nor models any more."""
    stores.catalogue.delete_project(projectName)
    return shapes.DeleteProjectResponse(ProjectArn=stores.arns.project(projectName))


def dataset_metadata(dataset: Dataset) -> shapes.DatasetMetadata:
    """A data set as CreateDataset and DescribeProject show it."""
    return shapes.DatasetMetadata(
        DatasetType=dataset.type,
        CreationTimestamp=dataset.created,
        Status=dataset.status,
        StatusMessage=dataset.message,
    )


def _metadata(project: Project, stores: Stores) -> shapes.ProjectMetadata:
    arn = stores.arns.project(project.name)
    return shapes.ProjectMetadata(ProjectArn=arn, ProjectName=project.name, CreationTimestamp=project.created)
