"""The container's files name what is really there: no engine is at hand to find out by building."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.server import GRACE_S
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SETTINGS = {f"ADAPTER_SERVICE_{name.upper()}" for name in Settings.model_fields}


def instructions(name: str) -> Iterator[list[str]]:
    """The arguments of each of the Dockerfile's instructions called `name`."""
    joined = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    for line in joined.splitlines():
        if line.startswith(f"{name} "):
            yield shlex.split(line)[1:]


def copied_from_the_checkout() -> list[str]:
    copies = [arguments for arguments in instructions("COPY") if not arguments[0].startswith("--from=")]
    return [source for arguments in copies for source in arguments[:-1] if not source.startswith("--")]


def compose(name: str) -> dict[str, Any]:
    return yaml.safe_load((DOCKER / name).read_text())


def test_every_path_that_the_image_copies_is_in_the_checkout() -> None:
    sources = copied_from_the_checkout()
    assert "service" in sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_every_path_that_the_image_copies_is_sent_to_the_build() -> None:
    first, *kept = [line for line in _ignore_lines() if line.startswith(("*", "!")) and "__pycache__" not in line]
    assert first == "*"
    sent = [line.removeprefix("!") for line in kept]
    unsent = [s for s in copied_from_the_checkout() if not any(fnmatch(s, p) or s.startswith(f"{p}/") for p in sent)]
    assert unsent == []
    assert [path for path in sent if not (ROOT / path).exists()] == []


def test_the_image_is_made_by_a_target_that_the_makefile_has() -> None:
    (built,) = [a for a in instructions("RUN") if "make" in a and "apt-get" not in a]
    target = built[built.index("make") + 1]
    makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE)


def test_each_kind_of_torch_that_is_documented_is_a_stage() -> None:
    stages = {arguments[-1] for arguments in instructions("FROM") if "AS" in arguments}
    assert {"torch-cpu", "torch-cuda"} <= stages
    assert ["torch-${TORCH}", "AS", "build"] in list(instructions("FROM"))
    assert f"torch-{compose('compose.cuda.yaml')['services']['service']['build']['args']['TORCH']}" in stages


def test_the_image_runs_as_somebody_who_is_not_root() -> None:
    ((user,),) = instructions("USER")
    assert int(user) > 0


def test_every_setting_in_the_container_files_is_one_of_the_services_own() -> None:
    named = re.findall(
        r"ADAPTER_SERVICE_[A-Z0-9_]+", "".join(path.read_text() for path in DOCKER.iterdir() if path.is_file())
    )
    assert set(named) >= {"ADAPTER_SERVICE_HOST", "ADAPTER_SERVICE_DATABASE_URL"}
    assert set(named) - SETTINGS == set()


def test_the_settings_that_compose_gives_are_ones_that_the_service_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in compose("compose.yaml")["services"]["service"]["environment"].items():
        if value is not None:  # else the shell's own, if it has one
            monkeypatch.setenv(
                name, re.sub(r"\$\{\w+:-\}", "", re.sub(r"\$\{\w+:\?[^}]*\}", "a-secret-of-some-length", value))
            )
    settings = Settings()
    assert settings.database_url == "postgresql://adapters:a-secret-of-some-length@database/adapters"
    assert settings.model_roots == (Path("/app/var/models"),)
    assert settings.factories == ()


def test_the_service_has_longer_to_end_than_its_requests_may_take() -> None:
    service = compose("compose.yaml")["services"]["service"]
    assert float(service["stop_grace_period"].removesuffix("s")) > GRACE_S
    assert service["stop_signal"] == "SIGTERM"


def test_the_entrypoint_becomes_the_front_so_that_signals_reach_it(tmp_path: Path) -> None:
    """With a stand-in for `adapterctl` that says which process it is: the one that was started."""
    stand_in = tmp_path / "adapterctl"
    stand_in.write_text('#!/bin/sh\necho "$$ $*"\n')
    stand_in.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["/bin/sh", str(DOCKER / "entrypoint.sh"), "--port", "1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    migrated, served = process.communicate()[0].splitlines()
    assert migrated.endswith(" migrate")
    assert served == f"{process.pid} serve --port 1"


def test_the_service_waits_until_its_database_is_healthy() -> None:
    services = compose("compose.yaml")["services"]
    assert services["service"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert services["database"]["healthcheck"]["test"][1] == "pg_isready"


def test_what_must_outlive_a_container_is_on_volumes_that_are_declared() -> None:
    file = compose("compose.yaml")
    mounted = [volume.split(":")[0] for service in file["services"].values() for volume in service["volumes"]]
    assert {volume for volume in mounted if volume.isalpha()} == set(file["volumes"]) == {"blobs", "database"}


def test_compose_builds_the_dockerfile_with_the_checkout_as_its_context() -> None:
    build = compose("compose.yaml")["services"]["service"]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).resolve() == DOCKER / "Dockerfile"


def _ignore_lines() -> list[str]:
    lines = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]
