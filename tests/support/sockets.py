"""An app on a real socket in this process, for clients that bring their own HTTP."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from ports import hold_port, number_of

TIMEOUT_S = 60.0


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def listening(app: Any) -> Generator[str]:
    """The app's address; its lifespan is inside."""
    held = hold_port()
    config = uvicorn.Config(app, port=number_of(held), log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = _Announcing(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert server.listening.wait(TIMEOUT_S), "the server didn't start"
    try:
        yield f"http://127.0.0.1:{number_of(held)}"
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)
        held.close()
