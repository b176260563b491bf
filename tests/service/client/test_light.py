"""The package without the extra `server`: the client and `adapters` run, `adapterctl` says what to install."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
# As if it weren't installed: importing it fails.
HIDE = """
import sys
for name in {names!r}:
    sys.modules[name] = None
"""
# fmt: off
ONLY_A_SERVICES = [
    "accelerate", "alembic", "asgi_correlation_id", "cachetools", "fastapi", "fastapi_offline",
    "gguf", "llguidance", "models_registry", "msgspec", "obstore", "orjson", "prometheus_client",
    "psutil", "psycopg", "pydantic", "pydantic_settings", "regex", "sqlalchemy", "starlette",
    "torch", "transformers", "uvicorn",
]
# fmt: on


def run_without_server(code: str) -> subprocess.CompletedProcess[str]:
    hidden = HIDE.format(names=ONLY_A_SERVICES)
    return subprocess.run([sys.executable, "-c", hidden + code], check=False, capture_output=True, text=True)


def test_the_client_and_its_command_need_nothing_of_the_servers() -> None:
    code = "import service.client\nsys.argv = ['adapters', '--help']\nservice.client.commands.main()"
    ran = run_without_server("import service.client.commands\n" + code)
    assert ran.returncode == 0, ran.stderr
    assert "push" in ran.stdout


def test_adapterctl_says_what_it_lacks() -> None:
    ran = run_without_server("from service.entry import adapterctl\nadapterctl()")
    assert ran.returncode == 2
    assert "pip install 'adapter-service[server]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_light_part_is_small() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    light = {requirement.partition(">")[0] for requirement in project["dependencies"]}
    assert light == {"httpx", "httpx-sse", "numpy", "rich", "safetensors", "tenacity", "typer"}
