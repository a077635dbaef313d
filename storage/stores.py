"""All stores of one process, opened together from the settings."""

from dataclasses import dataclass

from storage.access import AccessKeys
from storage.catalogue import Catalogue
from storage.data_keys import DataKeys
from storage.database import Database
from storage.directory_objects import DirectoryObjects
from storage.hosting import Hosting
from storage.jobs import Jobs
from storage.minio_objects import MinioObjects
from storage.objects import Objects
from storage.records import Arns
from storage.scaling import Scaling
from storage.settings import Settings
from storage.tokens import Tokens


@dataclass(frozen=True)
class Stores:
    """What a process keeps its state in; `database.transaction()` spans all but the objects."""

    settings: Settings
    database: Database
    catalogue: Catalogue
    tokens: Tokens
    keys: AccessKeys
    jobs: Jobs
    hosting: Hosting
    scaling: Scaling
    objects: Objects
    data_keys: DataKeys
    arns: Arns


def open_stores(settings: Settings) -> Stores:
    """Open everything and bring the catalogue to the newest schema. The data directory is made, for its owner only."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(settings.catalogue)
    database.migrate()
    catalogue = Catalogue(database)
    return Stores(
        settings=settings,
        database=database,
        catalogue=catalogue,
        tokens=Tokens(database),
        keys=AccessKeys(database, settings.data_dir / "secret.key"),
        jobs=Jobs(database, settings),
        hosting=Hosting(catalogue, settings),
        scaling=Scaling(database, settings),
        objects=open_objects(settings),
        data_keys=DataKeys(settings.kms_keys),
        arns=Arns(settings.region, settings.account),
    )


def open_objects(settings: Settings) -> Objects:
    """The object store that the settings name: an S3 server, or folders in the data directory."""
    if settings.objects_url is None or settings.objects_key is None:
        return DirectoryObjects(settings.objects_dir)
    return MinioObjects(settings.objects_url, *settings.objects_key, settings.region)
