"""One thread that has this process see what others change in the registry, so that several over one database are one.

A change of this process is seen at once. A change of another process is seen within `PERIOD_S`. While nothing changes,
a look is one statement.
"""

import logging
import threading
from collections.abc import Callable

from models_registry.errors import RegistryError
from models_registry.records import RegistrySnapshot
from service.front.resolution.registry_snapshot import Snapshot
from service.front.services.inference import Inference
from service.front.services.models import Models
from service.front.trouble_log import TroubleLog

log = logging.getLogger(__name__)

PERIOD_S = 0.5
# A look at a database that hangs can't be ended; it is waited for this long.
JOIN_S = 1.0


class RegistryPoller:
    """Constructing it starts nothing."""

    def __init__(self, snapshot: Snapshot, models: Models, inference: Inference) -> None:
        self._snapshot = snapshot
        self._models = models
        self._inference = inference
        self._following = threading.Lock()
        self._followed = snapshot.view
        self._followers: list[Callable[[], None]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry watcher", daemon=True)
        self._troubles = TroubleLog(log, "what other processes change is seen again")

    def add_follower(self, follow: Callable[[], None]) -> None:
        """Have `follow` called before everything else whenever the registry has changed."""
        self._followers.append(follow)

    def start(self, followed: RegistrySnapshot) -> None:
        """Memory is as this view says; from now on it follows."""
        self._followed = followed
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    @property
    def reached(self) -> int:
        """The generation up to which memory is what the registry says."""
        return self._followed.generation

    def look(self) -> None:
        """See every change that was acknowledged until now, and bring memory to it. Raises `Unavailable`."""
        self._snapshot.refresh()
        with self._following:
            view = self._snapshot.view
            if view is not self._followed:
                for follow in self._followers:
                    follow()
                self._models.follow()
                self._inference.drop_gone()
                self._followed = view

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            try:
                self.look()
            except RegistryError as error:
                self._troubles.failed(f"what other processes change isn't seen: {error.detail}")
            except Exception as error:  # without this thread the process would be stuck in the past, and silent
                if self._troubles.failed(f"what other processes change isn't seen: {type(error).__name__}: {error}"):
                    log.exception("the watcher failed")
            else:
                self._troubles.succeeded()
