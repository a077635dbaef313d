"""Operations on the tags of models, the only resources that have them."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Query

from api import shapes
from api.deps import StoresDep, model_of
from api.errors import ResourceNotFoundException, ServiceQuotaExceededException, ValidationException
from api.operation import QUOTA, operation
from api.operations.models import tags_of
from storage.errors import Missing
from storage.options import PREFIX
from storage.records import Model
from storage.stores import Stores

MOST_TAGS = 200


@operation("POST", "/tags/{resourceArn:path}", errors=QUOTA)
def tag_resource(
    resourceArn: shapes.TagArn, body: shapes.TagResourceRequest, stores: StoresDep
) -> shapes.EmptyResponse:
    """Add tags to a model, or change their values."""
    tags = tags_of(body.Tags)
    _refuse_own(tags)
    with stores.database.transaction():
        model = _tagged(resourceArn, stores)
        if len(stores.catalogue.tags.of(model.project, model.version) | tags) > MOST_TAGS:
            raise ServiceQuotaExceededException(
                f"a model may have {MOST_TAGS} tags; remove some first", "tags-per-model", ResourceType="MODEL"
            )
        stores.catalogue.tags.put(model.project, model.version, tags)
    return shapes.EmptyResponse()


@operation("DELETE", "/tags/{resourceArn:path}")
def untag_resource(
    resourceArn: shapes.TagArn, tagKeys: Annotated[shapes.TagKeyList, Query()], stores: StoresDep
) -> shapes.EmptyResponse:
    """Remove tags from a model; keys that it does not have are passed over."""
    _refuse_own(tagKeys)
    with stores.database.transaction():
        model = _tagged(resourceArn, stores)
        stores.catalogue.tags.remove(model.project, model.version, tagKeys)
    return shapes.EmptyResponse()


@operation("GET", "/tags/{resourceArn:path}")
def list_tags_for_resource(resourceArn: shapes.TagArn, stores: StoresDep) -> shapes.ListTagsForResourceResponse:
    """List the tags of a model in the order of their keys."""
    model = _tagged(resourceArn, stores)
    tags = stores.catalogue.tags.of(model.project, model.version)
    return shapes.ListTagsForResourceResponse(Tags=[shapes.Tag(Key=key, Value=tags[key]) for key in tags])


def _tagged(arn: str, stores: Stores) -> Model:
    place = model_of(arn, stores.arns)
    arn = unquote(arn)
    if place is None:
        raise ValidationException(f"'{arn}' is not the ARN of a model; only models have tags")
    try:
        return stores.catalogue.model(*place)
    except Missing as error:
        raise ResourceNotFoundException(str(error), ResourceId=arn, ResourceType="MODEL") from None


def _refuse_own(keys: dict[str, str] | list[str]) -> None:
    own = [key for key in keys if key.startswith(PREFIX)]
    if own:
        raise ValidationException(f"the tag '{own[0]}' tells how a model was trained; it is set with CreateModel only")
