"""The artefact of a model in the object store: sealed where the model has a data key."""

from storage.data_keys import name_of
from storage.errors import DataKeyError
from storage.objects import OWN_BUCKET, artefact_key, get_verified
from storage.records import Job, Model, Stored
from storage.sealing import SealBroken, seal, sealed_with, unseal
from storage.stores import Stores


def put_artefact(stores: Stores, model: Model, job: Job, data: bytes) -> Stored:
    """Store what a training has made. The SHA-256 is that of the bytes as stored, sealed or not.

    Raises DataKeyError where the model's key is gone, Unreachable and ObjectError.
    """
    key = artefact_key(model.project, model.version, job.id, job.epoch)
    if model.kms_key_id is not None:
        name, secret = stores.data_keys.read(model.kms_key_id)
        data = seal(secret, name, f"s3://{OWN_BUCKET}/{key}", data)
    return stores.objects.put(OWN_BUCKET, key, data)


def get_artefact(stores: Stores, model: Model, stored: Stored) -> bytes:
    """The artefact of a model, checked and opened.

    Raises Corrupt and NoSuchObject, DataKeyError where the key is gone or another one, and Unreachable.
    """
    data, place = get_verified(stores.objects, stored), f"s3://{stored.bucket}/{stored.key}"
    if model.kms_key_id is None:
        return data
    name, secret = stores.data_keys.read(model.kms_key_id)
    found = sealed_with(data)
    if found != name:
        how = "not sealed" if found is None else f"sealed with the data key '{found}'"
        raise DataKeyError(f"{place} is {how}, but its model has the data key '{name_of(model.kms_key_id)}'")
    try:
        return unseal(secret, place, data)
    except SealBroken:
        raise DataKeyError(
            f"the data key '{name}' in {stores.data_keys.folder} is another one than that which sealed {place}"
        ) from None
