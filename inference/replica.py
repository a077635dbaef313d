"""Entry point of one replica: `python -m inference.replica --project P --version V --slot N --host H --replica ID`.

Loads the model, proves that it still decides as it was trained, and serves until SIGTERM. It writes its own address
into its unit; why it cannot serve goes there too, and the exit status tells the host whether to try again.
"""

import logging
import socket
import sys
import time
import zlib
from functools import partial

import torch
import uvicorn

from gpu import artefact
from gpu.backbone import Backbone, load_backbone
from gpu.device import select_device
from gpu.images import ImageLimits
from gpu.inspection import SelfTestError
from gpu.weights import WeightsError
from inference.batcher import Batcher
from inference.engine import Engine
from inference.place import UNUSABLE, Place
from inference.pressure import watch_pressure
from inference.server import Server
from storage import messages
from storage.artefacts import get_artefact
from storage.errors import Conflict, Corrupt, DataKeyError, Missing, NoSuchObject, ObjectError, Unreachable
from storage.lifeline import die_with_parent
from storage.records import Model, ModelStatus, Unit
from storage.replica_call import KEEP_ALIVE_SECONDS
from storage.settings import Settings
from storage.stores import Stores, open_stores

_STOP_SECONDS = 5  # for requests at hand when the replica is stopped
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - taken from the settings only
_PAUSE_SECONDS = 1.0

log = logging.getLogger(__name__)


class UnusableModel(Exception):
    """The model cannot be served on this machine; the message tells the user why and what to do."""


def load_engine(stores: Stores, model: Model, slot: int, threads: int) -> Engine:
    """The model's engine, self-tested, on the GPU of this slot or so many threads of the CPU.

    Raises UnusableModel, Unreachable.
    """
    settings = stores.settings
    if model.artefact is None:
        raise UnusableModel(f"Version {model.version} of the model has no artefact. Train the model again.")
    try:
        data = get_artefact(stores, model, model.artefact)
        inspector, _ = artefact.load(data, partial(_backbone, settings), _device(model, slot))
        limits = ImageLimits(settings.max_image_bytes, settings.min_image_side, settings.max_image_side)
        engine = Engine(inspector, limits, _dimensions(settings, data), threads)
        difference = engine.self_test()
    except (Corrupt, NoSuchObject) as error:
        raise UnusableModel(f"The model's artefact cannot be used: {error}. Restore it or train again.") from error
    except ObjectError as error:
        raise UnusableModel(
            f"The model's artefact cannot be read: {error}. Put that right, then start the model again."
        ) from error
    except DataKeyError as error:
        raise UnusableModel(
            f"The model's artefact cannot be opened: {error}. Put the file of the key back and start the model again; "
            "a new key of the same name does not open it."
        ) from error
    except (artefact.ArtefactError, WeightsError, SelfTestError) as error:
        raise UnusableModel(str(error)) from error
    log.info("self-test passed on %s, largest difference %.1e", inspector.embedding.device, difference)
    return engine


def wait_for_engine(stores: Stores, model: Model, slot: int, threads: int) -> Engine:
    """As `load_engine`, but waits for an object store that is away: no model has to be started again for that."""
    while True:
        try:
            return load_engine(stores, model, slot, threads)
        except Unreachable as error:
            log.warning("waits: %s", error)
            message = messages.waiting(messages.MODEL_STARTING, "It", error)
            stores.catalogue.note_progress(model, ModelStatus.STARTING_HOSTING, message)
            time.sleep(_PAUSE_SECONDS)


def _backbone(settings: Settings, name: str, *, layers: tuple[str, ...]) -> Backbone:
    return load_backbone(name, settings.weights, allow_download=settings.allow_download, layers=layers)


def _dimensions(settings: Settings, data: bytes) -> tuple[int, int] | None:
    """The only (width, height) to take, where the settings say so and the training images had but one."""
    stored = artefact.read_header(data).get("dimensions") if settings.dimensions == "refuse" else None
    return None if stored is None else (stored[0], stored[1])


def _device(model: Model, slot: int) -> torch.device:
    count = torch.cuda.device_count()
    # The first units of different models begin on different GPUs.
    first = zlib.crc32(f"{model.project}/{model.version}".encode())
    return select_device((first + slot) % count if count else None)


def _serve(stores: Stores, place: Place, unit: Unit, model: Model, engine: Engine) -> None:
    settings = stores.settings
    batcher = Batcher(engine, settings.replica_queue, place.threads)
    server = Server(batcher, place.replica, settings.max_image_bytes)
    family = socket.AF_INET6 if ":" in settings.replica_address else socket.AF_INET
    listener = socket.create_server((settings.replica_address, 0), family=family, backlog=128)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    address = f"{_reached_at(settings.replica_address)}:{listener.getsockname()[1]}"

    def started() -> None:
        stores.hosting.ready(place.host, unit, place.replica, address)
        log.info("ready at %s", address)
        if (model.max_units or 0) > (model.min_units or 0):
            watch_pressure(stores, unit, batcher)

    config = uvicorn.Config(
        server.app(started),
        log_config=None,
        access_log=False,
        # Longer than the API keeps it: a connection must not be closed under a request that was just sent.
        timeout_keep_alive=int(2 * KEEP_ALIVE_SECONDS),
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _reached_at(listens_on: str) -> str:
    if listens_on in EVERYWHERE:
        return socket.gethostname()
    return f"[{listens_on}]" if ":" in listens_on else listens_on


def main() -> None:
    """Serve until SIGTERM. Exits with UNUSABLE after telling the unit why the model cannot be served."""
    die_with_parent()
    place = Place.parse()
    name = f"replica {place.project}/{place.version}#{place.slot}"
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name} %(levelname)s %(name)s: %(message)s")
    torch.set_num_threads(1)  # the threads that compute say what they take
    stores = open_stores(Settings())
    try:
        model = stores.catalogue.model(place.project, place.version)
        unit = next(u for u in stores.hosting.units(place.host) if place.holds(u.project, u.version, u.slot))
    except (Missing, StopIteration):
        log.info("the unit is gone")
        return
    try:
        engine = wait_for_engine(stores, model, place.slot, place.threads)
    except UnusableModel as error:
        log.exception("the model cannot be served")
        _refuse(stores, place, unit, model, str(error))
        sys.exit(UNUSABLE)
    _serve(stores, place, unit, model, engine)


def _refuse(stores: Stores, place: Place, unit: Unit, model: Model, reason: str) -> None:
    """Tell why: in the unit, and as HOSTING_FAILED unless the model already serves with other replicas."""
    try:
        stores.hosting.lost(place.host, unit, reason)
        stores.hosting.fail(model, messages.not_hosted(reason))
    except Conflict as error:
        log.info("%s", error)


if __name__ == "__main__":
    main()
