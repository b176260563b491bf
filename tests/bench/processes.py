"""Servers of a bench, each in a process of its own, by default with one thread for torch."""

import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil

from tests.e2e.process import ROOT, Service, until
from tests.support.ports import hold_port, number_of


@contextmanager
def our_service(models: Path, factories: str = "", **environment: str) -> Generator[Service]:
    """Ready. `environment` goes over its own."""
    with TemporaryDirectory() as folder:
        service = Service(Path(folder), models)
        service.environment |= {"ADAPTER_SERVICE_FACTORIES": factories, **environment}
        try:
            yield service.start().wait_until_ready()
        finally:
            service.close()


def hosts_of(service: Service) -> set[psutil.Process]:
    """The processes that base models run in. The server that forks them is the service's own child."""
    return {one for one in psutil.Process(service.pid).children(recursive=True) if one.ppid() != service.pid}


@contextmanager
def peer(app: str, environment: Mapping[str, str] | None = None) -> Generator[int]:
    """An ASGI app of ours (`module:app`) under uvicorn; its port, once it answers."""
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    with hold_port() as held:
        port = number_of(held)
        command = [sys.executable, "-m", "uvicorn", app, f"--port={port}", "--no-access-log", "--log-level=warning"]
        with subprocess.Popen(command, cwd=ROOT, env=settings) as process:
            try:
                until(lambda: _answers(port), lambda: process.poll() is None)
                yield port
            finally:
                process.terminate()


def _answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/")
    except httpx.TransportError:
        return False
    return True
