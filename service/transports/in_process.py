"""Hosts in the front's own process: for library users and fast tests. One that dies takes the process with it."""

from service.host.adapters.weights import ReadBlob
from service.host.model_host import TorchHost
from service.protocol.host import ModelHost


class InProcess:
    """Factories may use torch's global state, so one model is built at a time."""

    parallel_loads = 1

    def __init__(self, read_blob: ReadBlob) -> None:
        self._read_blob = read_blob

    def start(self, name: str) -> ModelHost:
        """A host for the base model `name`."""
        return TorchHost(self._read_blob)

    def close(self) -> None:
        """There is nothing to end."""
