"""A service, its hosts' processes, and models that are told what to do by the numbers in their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
from e2e.process import PATIENCE_S, Service, until

CONFIG = {"peft_type": "LORA", "r": 2, "target_modules": ["first"], "init_lora_weights": False}
ROW = (0.5, -0.25, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class House:
    service: Service

    @property
    def http(self) -> httpx.Client:
        return self.service.http

    # ---- models -------------------------------------------------------------------------------------------------

    def begin(self, model: str, factory: str = "deadly:deadly", **kwargs: Any) -> None:
        source = {"kind": "python", "factory": factory, "kwargs": kwargs}
        answer = self.http.post("/models", json={"id": model, "source": source})
        assert answer.status_code == 202, answer.text

    def host(self, model: str, factory: str = "deadly:deadly", **kwargs: Any) -> None:
        source = {"kind": "python", "factory": factory, "kwargs": kwargs}
        self.service.register(model, source)

    def model(self, model: str) -> dict[str, Any]:
        return self.http.get(f"/models/{model}").json()

    def wait_for(self, model: str, state: str) -> dict[str, Any]:
        """What is said of the model once it is in that state."""
        return until(lambda: now if (now := self.model(model))["state"] == state else None)

    def create(self, model: str, name: str, **headers: str) -> httpx.Response:
        asked = {"name": name, "config": CONFIG, "seed": 1}
        return self.http.post(f"/models/{model}/adapters", json=asked, headers=headers)

    # ---- requests -----------------------------------------------------------------------------------------------

    def ask(
        self, model: str, row: Sequence[float] = ROW, adapter: str | None = None, timeout: float | None = None
    ) -> httpx.Response:
        headers = {} if timeout is None else {"X-Request-Timeout": str(timeout)}
        asked = {"adapter": adapter, "inputs": {"x": [list(row)]}}
        return self.http.post(f"/models/{model}/infer", headers=headers, json=asked)

    def output(self, model: str, row: Sequence[float] = ROW, adapter: str | None = None) -> list[list[float]]:
        answer = self.ask(model, row, adapter)
        assert answer.status_code == 200, answer.text
        return answer.json()["outputs"]["output"]["data"]

    # ---- processes ----------------------------------------------------------------------------------------------

    @property
    def processes(self) -> list[psutil.Process]:
        """All that the service has begun."""
        return psutil.Process(self.service.pid).children(recursive=True)

    @property
    def fork_server(self) -> psutil.Process:
        """Its children are the hosts."""
        children = psutil.Process(self.service.pid).children()
        (server,) = [child for child in children if any("fork_server" in word for word in child.cmdline())]
        return server

    @property
    def hosts(self) -> list[psutil.Process]:
        return self.fork_server.children()


def row_of(number: float, salt: float = 0.0) -> tuple[float, ...]:
    """One that makes a deadly model do what the number says; of another content for another `salt`."""
    return (number, salt, 0.0, 0.0)


def gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether all of them end, within the patience of a test."""
    return not psutil.wait_procs(processes, PATIENCE_S)[1]
