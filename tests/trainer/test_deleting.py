"""DeleteModel: the model's own objects go, the evaluation files stay."""

from storage.jobs import DELETE
from storage.objects import OWN_BUCKET
from storage.records import ModelStatus
from tests.trainer.plant import Plant
from trainer import deleting


def test_deleted_model_leaves_only_other_objects(plant: Plant) -> None:
    stores = plant.stores
    model, _ = plant.create_model(plant.render(1, 1))
    plant.create_model(plant.render(1, 1))
    stores.objects.put("results", "out/EvaluationResult-press-1.json", b"{}")
    stores.catalogue.move_model(model, ModelStatus.TRAINING_FAILED, "…")
    stores.catalogue.move_model(model, ModelStatus.DELETING, "…")
    for _ in range(2):  # the second time there is nothing left to do
        job = stores.jobs.claim(stores.jobs.submit(DELETE, {"project": plant.project, "version": 1}))
        assert job is not None
        deleting.run(job, stores)
        assert not stores.jobs.keep(job)
    assert [model.version for model in stores.catalogue.models(plant.project)] == [2]
    assert list(stores.objects.keys(OWN_BUCKET)) == ["models/press/2/train.jsonl"]
    assert stores.objects.size("results", "out/EvaluationResult-press-1.json") == 2


def test_model_that_is_not_being_deleted_stays(plant: Plant) -> None:
    plant.create_model(plant.render(1, 1))
    job = plant.stores.jobs.claim(plant.stores.jobs.submit(DELETE, {"project": plant.project, "version": 1}))
    assert job is not None
    deleting.run(job, plant.stores)
    assert plant.model().status == ModelStatus.TRAINING
    assert len(list(plant.stores.objects.keys(OWN_BUCKET))) == 1
