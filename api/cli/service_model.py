"""`vigil service-model`: the API as files that AWS's clients read."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import say

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; made if needed.", show_default=False)]


def service_model(folder: Folder) -> None:
    """Write the files with which newest boto3 knows the service. Use it as: eval "$(vigil service-model DIR)" """
    # The API itself takes a second to load; the other commands do without it.
    import api.app  # noqa: F401 - declares the operations
    from api.operation import API_VERSION, OPERATIONS
    from api.service_model import paginators, service_model
    from api.signature import SERVICE

    model = service_model(OPERATIONS.values(), "Visual anomaly detection on your own machine, by Vigil.")
    place = folder.absolute() / SERVICE / API_VERSION.strip("/")
    place.mkdir(parents=True, exist_ok=True)
    for name, content in (("service-2", model), ("paginators-1", paginators(model))):
        (place / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    say(f"The service model is in {place}")
    typer.echo(f"export AWS_DATA_PATH={shlex.quote(str(folder.absolute()))}")
