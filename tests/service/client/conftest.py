"""The real app behind a real socket: the client has its own HTTP."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from apps import settings_in

from service.bootstrap import create_app
from service.client import Client


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service of the file's own, with no base model."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(settings_in(tmp_path_factory.mktemp("client")))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    """Hosts `mlp`; adapters have names of their own."""
    with Client(address) as client:
        client.models.register("mlp", {"kind": "python", "factory": "bases:mlp"})
        yield client
