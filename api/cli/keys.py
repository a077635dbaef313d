"""Access keys of the data directory on this machine."""

from api.cli.terminal import CommandError
from storage.access import AccessKey, AccessKeys
from storage.database import Database
from storage.settings import Settings


def first_key(settings: Settings) -> AccessKey:
    """The key made at first start of this data directory. Raises CommandError where there is none."""
    file = settings.data_dir / "secret.key"
    missing = CommandError(
        f"There is no access key in {settings.data_dir}: `vigil up` was never run with this data directory. "
        "Run it first, or name the directory it uses with --data-dir or VIGIL_DATA_DIR."
    )
    if not file.is_file():
        raise missing
    database = Database(settings.catalogue)
    try:
        key = AccessKeys(database, file).first()
    finally:
        database.close()
    if key is None:
        raise missing
    return key


def owns_key(settings: Settings, id_: str) -> bool:
    """Whether the key with this id was made in the data directory of these settings."""
    if not (settings.data_dir / "secret.key").is_file():
        return False
    database = Database(settings.catalogue)
    try:
        return AccessKeys(database, settings.data_dir / "secret.key").find(id_) is not None
    finally:
        database.close()
