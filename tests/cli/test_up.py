"""`vigil up` as a user runs it: one per directory, all children end with it, and its keys work."""

import signal
import socket
import subprocess
from pathlib import Path

import psutil

from tests.cli.conftest import vigil, where
from tests.conftest import wait_until
from tests.processes import any_alive
from tests.service import VIGIL, Service

CHILDREN = ("api.main", "trainer.worker --queue training", "trainer.worker --queue short", "inference.host")


def test_what_it_prints_and_starts(service: Service) -> None:
    wait_until(lambda: f"Vigil listens on http://127.0.0.1:{service.port}\n" in service.log(), 30, "the address")
    place = f"Data directory: {service.data_dir}\nObjects: folders in {service.data_dir}/objects\n`vigil env` prints"
    wait_until(lambda: place in service.log(), 30, "the rest")
    assert service.data_dir.stat().st_mode & 0o077 == 0
    wait_until(lambda: all(service.find(*words.split()) for words in CHILDREN), 60, "all children")


def test_a_second_one_is_refused(service: Service) -> None:
    second = vigil("up", "--data-dir", str(service.data_dir), "--port", "1")
    assert second.returncode == 1
    assert second.stderr.startswith(f"Vigil already runs on {service.data_dir} (process ")
    assert "--data-dir" in second.stderr
    assert "Traceback" not in second.stderr


def test_env_is_for_a_shell(service: Service) -> None:
    shown = vigil("env", *where(service))
    assert shown.stderr == ""
    assert [line.partition("=")[0] for line in shown.stdout.splitlines()] == [
        "export AWS_ENDPOINT_URL_LOOKOUTVISION",
        "export AWS_ACCESS_KEY_ID",
        "export AWS_SECRET_ACCESS_KEY",
        "export AWS_DEFAULT_REGION",
    ]
    # The last command finds and opens the service by what was exported alone.
    script = (
        'set -eu; eval "$("$0" env --data-dir "$1" --port "$2")"; printf "%s|" "$AWS_ENDPOINT_URL_LOOKOUTVISION" '
        '"$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_DEFAULT_REGION"; "$0" list'
    )
    command = ["sh", "-c", script, VIGIL, str(service.data_dir), str(service.port)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    endpoint, id_, secret, region, _ = printed.stdout.split("|")
    assert endpoint == f"http://127.0.0.1:{service.port}"
    assert (id_[:4], len(id_), len(secret), region) == ("AKIA", 20, 40, "us-east-1")


def test_a_child_that_is_killed_is_started_again(service: Service) -> None:
    (api,) = service.find("api.main")
    api.kill()
    wait_until(lambda: [p for p in service.find("api.main") if p.pid != api.pid], 30, "another API process")
    wait_until(lambda: vigil("list", *where(service)).returncode == 0, 60, "the API to answer again")
    assert "The API process was killed by signal 9; it is started again in 1 s." in service.log()


def test_killed_with_9_it_leaves_no_child_and_starts_again_at_once(service: Service) -> None:
    key = vigil("env", *where(service)).stdout
    children = service.children()
    service.kill()
    service.start()
    wait_until(lambda: not any_alive(children), 20, "the children of the killed one to go")
    assert vigil("env", *where(service)).stdout == key


def test_sigterm_ends_all(service: Service) -> None:
    children = service.children()
    assert children
    psutil.Process(int((service.data_dir / "vigil.lock").read_text())).send_signal(signal.SIGTERM)
    wait_until(lambda: not service.running(), 60, "vigil up to end")
    assert service.stop() == 0
    assert not any_alive(children)
    assert service.log().endswith("Vigil has stopped.\n")


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = vigil("up", "--data-dir", str(tmp_path / "data"), "--port", str(port))
    assert refused.returncode == 1
    assert f"Port {port} of this machine is taken by another program. Choose another one with --port" in refused.stderr
    assert "Traceback" not in refused.stderr
