"""A real cluster on this machine: `adapterctl cluster up`, which starts a small Ray of its own."""

from pathlib import Path

from e2e.process import Service

CPUS = 32
"""Ray's count of what it may place, not the machine's."""


class Cluster(Service):
    """Spoken to through Serve's proxy, as a `Service` is directly. Each of its processes writes to one log."""

    def __init__(self, directory: Path, models: Path, database_url: str, *, fronts: int = 2, replicas: int = 1) -> None:
        super().__init__(directory, models)
        self._command = (
            *("adapterctl", "cluster", "up", "--cpus", str(CPUS)),
            *("--fronts", str(fronts), "--replicas", str(replicas)),
        )
        self.environment |= {
            "ADAPTER_SERVICE_DATABASE_URL": database_url,
            "ADAPTER_SERVICE_MIGRATE": "true",
            "ADAPTER_SERVICE_BLOB_URL": f"file:{directory / 'blobs'}",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def start(self, command: tuple[str, ...] | None = None) -> "Cluster":
        super().start(command or self._command)
        return self

    def close(self) -> None:
        """Ends Ray's processes, too, which are not this one's children alone."""
        if self.is_running:
            self.ask_to_end()
            self.wait_for_the_end()
        super().close()
