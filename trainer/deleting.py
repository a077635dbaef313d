"""DeleteModel: the model's own objects first, its record last."""

import logging

from storage.errors import Missing
from storage.objects import OWN_BUCKET
from storage.records import Job, ModelStatus
from storage.stores import Stores

log = logging.getLogger(__name__)


def run(job: Job, stores: Stores) -> None:
    """Remove a model that is DELETING: artefact and snapshots, then the record. The evaluation files stay, as on AWS.

    Interrupted, it is simply done again. Raises ObjectError where the object store cannot be reached.
    """
    project, version = job.payload["project"], job.payload["version"]
    try:
        model = stores.catalogue.model(project, version)
    except Missing:
        stores.jobs.finish(job)
        return
    if model.status == ModelStatus.DELETING:
        for key in list(stores.objects.keys(OWN_BUCKET, f"models/{project}/{version}/")):
            stores.objects.delete(OWN_BUCKET, key)
    with stores.database.transaction():
        stores.catalogue.delete_model(model)
        stores.jobs.finish(job)
    log.info("job %s: version %d of the model in project %s was deleted", job.id, version, project)
