"""A real cluster on this machine: `adapterctl cluster up`, which starts a small Ray of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
from e2e.preloaded import SERVE
from e2e.process import PATIENCE_S, Service, until

CPUS = 32
"""Ray's count of what it may place, not the machine's."""
GENERATION: Final = "X-Registry-Generation"
LOOKS = 6
"""So often a model is asked for until each front has surely said that it is ready."""


class Cluster(Service):
    """Spoken to through Serve's proxy, as a `Service` is directly. All of its processes write to one log.

    `http` sends back the newest generation of the registry that it saw, as a caller does who wants to see their own
    changes, whichever front answers.
    """

    def __init__(self, directory: Path, models: Path, database_url: str, *, fronts: int = 2) -> None:
        super().__init__(directory, models)
        self._command = ("adapterctl", "cluster", "up", "--cpus", str(CPUS), "--fronts", str(fronts))
        self.environment |= {
            "ADAPTER_SERVICE_DATABASE_URL": database_url,
            "ADAPTER_SERVICE_MIGRATE": "true",
            "ADAPTER_SERVICE_BLOB_URL": f"file:{directory / 'blobs'}",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._seen = 0
        self.http.event_hooks = {"request": [self._tell], "response": [self._note]}
        self.http.timeout = 2 * PATIENCE_S

    def start(self, command: tuple[str, ...] | None = None) -> "Cluster":
        super().start(command or self._command)
        return self

    def start_preloaded(self, main: str = SERVE) -> "Cluster":
        """By its command: Ray starts the processes."""
        return self.start()

    def wait_until_ready(self) -> "Cluster":
        for _ in range(LOOKS):
            super().wait_until_ready()
        return self

    def register(self, id: str, source: Mapping[str, object], **more: object) -> None:
        super().register(id, source, **more)
        self.wait_for_model(id)

    def wait_for_model(self, id: str, state: str = "ready") -> None:
        """Until every front says so."""
        until(lambda: {self.http.get(f"/models/{id}").json()["state"] for _ in range(LOOKS)} == {state})

    def close(self) -> None:
        """Ends Ray's processes, too, which are not this one's children alone."""
        if self.is_running:
            self.ask_to_end()
            self.wait_for_the_end()
        super().close()

    def _tell(self, request: httpx.Request) -> None:
        if self._seen:
            request.headers.setdefault(GENERATION, str(self._seen))

    def _note(self, response: httpx.Response) -> None:
        self._seen = max(self._seen, int(response.headers.get(GENERATION, 0)))
