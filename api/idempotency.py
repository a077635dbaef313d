"""Client tokens: a repeated call is answered from memory, in one transaction with the effects of the first."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from api.errors import ConflictException, ValidationException, from_storage
from api.shapes import Response
from storage.errors import Conflict
from storage.stores import Stores
from storage.tokens import Answer


def once(
    stores: Stores,
    operation: str,
    token: str | None,
    parameters: Mapping[str, Any],
    call: Callable[[], Response],
    answer: type[Response],
    still_so: Callable[[], bool] | None = None,
) -> Response:
    """Carry out `call` in a transaction, unless the token says that this was done before.

    With `still_so` the call is tried again all the same; only where the resource's state refuses it, and is still what
    the remembered answer says, that answer is given. Raises ValidationException where the token came with other
    parameters before.
    """
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
    with stores.database.transaction():
        earlier = stores.tokens.recall(operation, token) if token else None
        if earlier is not None:
            if earlier.parameters != digest:
                raise ValidationException(
                    f"the client token '{token}' was used for another {operation} call in the last 8 hours; "
                    "use a new token for a new call"
                )
            if still_so is None:
                return answer.model_validate(earlier.response)
        try:
            with stores.database.attempt():
                response = call()
        except (Conflict, ConflictException) as refusal:
            if earlier is not None and still_so is not None and still_so():
                return answer.model_validate(earlier.response)
            raise from_storage(refusal) if isinstance(refusal, Conflict) else refusal from None
        if token:
            stores.tokens.remember(operation, token, Answer(digest, _plain(response)))
        return response


def _plain(response: Response) -> dict[str, Any]:
    return response.model_dump(mode="json", exclude_none=True)
