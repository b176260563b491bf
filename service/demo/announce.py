"""Says when the service that `make run` starts is ready, and what to try first: `python -m service.demo.announce`.

Runs beside the service and ends with it. The service itself knows nothing of a demo.
"""

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

import typer

from service.settings import Settings, read_settings

POLL_S = 0.25


def announce(settings: Settings) -> None:
    """Wait until every model answers, then print. Returns without a word when the service ends before that."""
    service, address = os.getppid(), f"http://{settings.host}:{settings.port}"
    typer.echo("Starting. The first time its models take a minute to load ...")
    while os.getppid() == service:
        if _is_ready(address):
            typer.echo(_text(address))
            return
        time.sleep(POLL_S)


def _text(address: str) -> str:
    return f"""
  Adapter Service is ready on {address}
  In a browser: {address}/console, its API {address}/docs
  What it stores lies in {Path("var").resolve()}. Ctrl-C ends it.

  Push an adapter and chat with it, in another terminal, from this directory:

    export ADAPTERS_URL={address}
    .venv/bin/adapters push service/demo/pirate pirate --base smollm2 --yes
    .venv/bin/adapters chat smollm2 --adapter pirate

  The same over HTTP is in README.md. A line for each request: ADAPTER_SERVICE_LOG_LEVEL=info make run
"""


def _is_ready(address: str) -> bool:
    asked = f"{address}/health/ready?verbose=true"  # also says how many load for the first time
    try:
        with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 - the scheme is ours
            return answer.status == 200 and json.load(answer)["parts"]["models loading"] == "0"
    except (urllib.error.URLError, TimeoutError):
        return False


if __name__ == "__main__":
    announce(read_settings())
