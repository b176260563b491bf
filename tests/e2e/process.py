"""The real service, as an operator runs it: `adapterctl serve` in a process of its own, spoken to over HTTP."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx
from e2e.preloaded import SERVE, Preloaded

from tests.support.ports import hold_port, number_of

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PATIENCE_S = 120.0

T = TypeVar("T")


def until(condition: Callable[[], T | None], alive: Callable[[], bool] = lambda: True) -> T:
    """The first true value of `condition`, asked again and again. Fails once that has no prospects any more."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert alive(), "the process that this waits for has ended"
        assert time.monotonic() < give_up_at, f"still not so after {PATIENCE_S:.0f} s"
        time.sleep(0.02)
    return value


class Service:
    """One service with a directory of its own, where its `var/` lies; may be ended and started again there."""

    def __init__(self, directory: Path, models: Path) -> None:
        self.directory = directory
        self.own_root = directory / "roots"
        self.own_root.mkdir()
        self._held = hold_port()
        self.port = number_of(self._held)
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ADAPTER_SERVICE_")},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            # The checkout goes first: the folders of `tests` are called as the packages that they test.
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{ROOT / 'tests' / 'support'}:{ROOT / 'examples'}",
            # Where others use the cores too, two threads that spin for each other take twenty times as long as one.
            "OMP_NUM_THREADS": "1",
            "ADAPTER_SERVICE_READY_GRACE": f"{PATIENCE_S:g}",
            "ADAPTER_SERVICE_PORT": str(self.port),
            "ADAPTER_SERVICE_MODEL_ROOTS": f"{models}:{self.own_root}",
            "ADAPTER_SERVICE_FACTORIES": "bases:*,e2e.gate:gated,e2e.gate:gated_forward,mymodels:*",
            "ADAPTER_SERVICE_LORA_ROOT": str(self.own_root),
            "ADAPTERS_URL": self.address,
            "XDG_CONFIG_HOME": str(directory / "config"),  # what `adapters login` remembers
            "ADAPTER_SERVICE_DEVICE": "cpu",
        }
        # The service closes what is idle for 5 s; one that is used again at that moment would be cut.
        limits = httpx.Limits(keepalive_expiry=1.0)
        self.http = httpx.Client(base_url=self.address, timeout=PATIENCE_S, limits=limits)
        self._log = directory / "serve.log"
        self._process: subprocess.Popen[bytes] | Preloaded | None = None

    # ---- its life -----------------------------------------------------------------------------------------------

    def start(self, command: tuple[str, ...] = ("adapterctl", "serve")) -> "Service":
        """Returns once it listens, whether its models are loaded or not."""
        assert self._process is None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.directory, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )
        until(self._listens, self._lives)
        return self

    def start_preloaded(self, main: str = SERVE) -> "Service":
        """As `start`, in a tenth of the time. `main`, as `module:function`, is called in the command's place."""
        assert self._process is None
        self._process = Preloaded(main, self.directory, self.environment, self._log)
        until(self._listens, self._lives)
        return self

    def wait_until_ready(self) -> "Service":
        """Also with models that were never built before, which the service itself doesn't wait for."""
        until(self._has_its_models, self._lives)
        return self

    def wait_for_model(self, id: str, state: str = "ready") -> None:
        """A service is ready before a model that it builds for the first time."""
        until(lambda: self.http.get(f"/models/{id}").json()["state"] == state, self._lives)

    def ask_to_end(self, by: signal.Signals = signal.SIGTERM) -> None:
        self._running.send_signal(by)

    def wait_for_the_end(self) -> int:
        """The exit code."""
        code = self._running.wait(PATIENCE_S)
        self._process = None
        return code

    def kill(self) -> None:
        """As a power cut would: no handler runs."""
        self._running.kill()
        self.wait_for_the_end()

    def close(self) -> None:
        self.http.close()
        self._held.close()
        if self._process is not None:
            self.kill()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def run(self, command: str, directory: Path | None = None, variables: Mapping[str, str] | None = None) -> str:
        """What a shell command prints, run with the service's own environment, and `variables`."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=directory or self.directory,
            env={**self.environment, **(variables or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    # ---- what is asked of it ------------------------------------------------------------------------------------

    def register(self, id: str, source: Mapping[str, object], **more: object) -> None:
        """A base model, ready on return."""
        answer = self.http.post("/models", params={"wait": PATIENCE_S}, json={"id": id, "source": source, **more})
        assert answer.status_code == 201, answer.text

    @property
    def _running(self) -> "subprocess.Popen[bytes] | Preloaded":
        assert self._process is not None, "the service is not running"
        return self._process

    def _lives(self) -> bool:
        assert self._running.poll() is None, f"the service ended:\n{self.log}"
        return True

    def _has_its_models(self) -> bool:
        ready = self.http.get("/health/ready", params={"verbose": True})
        return ready.status_code == 200 and ready.json()["parts"]["models loading"] == "0"

    def _listens(self) -> bool:
        try:
            return self.http.get("/health/live").status_code == 200
        except httpx.TransportError:
            return False
