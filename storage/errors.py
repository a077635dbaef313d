"""What storage refuses, as a tree. Each process converts these once, at its own boundary.

StorageError
├── Missing              a project, data set or model that is not there
├── Conflict             a change that the present state forbids
├── Superseded           a worker finishes a job that another one has claimed since
├── Unreachable          a store does not answer: the same call may go through later
│   └── Full             its disk is full
├── ObjectError          an object that cannot be read or written
│   ├── NoSuchObject
│   └── Corrupt          its bytes are not those that were stored
├── DataKeyError         a key for sealing that is not there, or another one
└── ManifestError        a manifest line that cannot be used
"""


class StorageError(Exception):
    """Base of all refusals of this package."""


class _AboutResource(StorageError):
    def __init__(self, message: str, kind: str, resource: str) -> None:
        super().__init__(message)
        self.kind, self.resource = kind, resource


class Missing(_AboutResource):
    """`kind` is AWS's resource type (PROJECT, DATASET, MODEL), `resource` the name asked for."""


class Conflict(_AboutResource):
    """The resource is in a state that forbids the change; nothing was changed."""


class Superseded(StorageError):
    """The job belongs to a newer claim; whatever this worker did must not be committed."""


class Unreachable(StorageError):
    """The object store or the catalogue does not answer or cannot write now; nothing is wrong with the request."""


class Full(Unreachable):
    """The object store's disk is full; the message says where to make room."""


class ObjectError(StorageError):
    """An object or bucket that cannot be used; the message names it and says why."""


class NoSuchObject(ObjectError):
    """Nothing is stored under this bucket and key."""


class Corrupt(ObjectError):
    """The bytes read are not the bytes that were written."""


class DataKeyError(StorageError):
    """A data key that is missing, damaged or another one; the message names it and its file."""


class ManifestError(StorageError):
    """A manifest line that cannot be used; the message names the line and the reason."""
