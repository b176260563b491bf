"""Makes Serve's applications what the registry says: one for each hosted base model.

The registry is the truth, so that one of these may end at any moment: what comes after it looks again. No front starts
or ends a deployment itself.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator

from models_registry.errors import NotFound, RegistryError
from models_registry.records import BaseModel
from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import migrate, open_database
from service.cluster.applications import Applications, is_of, registration_of
from service.cluster.process_log import begin_log
from service.cluster.rollout import Rollout

log = logging.getLogger(__name__)

PERIOD_S = 1.0
PAGE = 256
SETTLE_S = 45.0
"""So long a replica is waited for that ends: Serve ends it by force after 30 s."""
LOOKING_S = 0.2


class Deployer:
    """A deployment of one replica."""

    def __init__(self, replicas: int, code: str) -> None:
        """`code` is another one for each `cluster up` and `cluster roll`, and the same for each that follows one which
        has ended: replicas of other codes are replaced."""
        settings = begin_log()
        if settings.migrates_at_start:
            migrate(settings.database_url)
        database = open_database(settings.database_url)
        self._registry = Registry(database, open_blob_store(settings.blob_url, settings.s3_endpoint))
        self._applications = Applications(settings, replicas, code)
        self._rollout = Rollout(self._applications)
        self._following = threading.Lock()
        threading.Thread(target=self._run, name="deployer", daemon=True).start()

    async def application(self, model: str) -> str | None:
        """The application of a base model, which may still be starting; None where it isn't hosted."""
        return await asyncio.to_thread(self._application, model)

    async def settle(self, model: str) -> None:
        """Returns once no application of this base model is there but what the registry says."""
        await asyncio.to_thread(self._follow)
        base = await asyncio.to_thread(self._find, model)
        wanted = {registration_of(base)} if base is not None and base.hosted else set[str]()
        for _ in range(int(SETTLE_S / LOOKING_S)):
            remaining = await asyncio.to_thread(self._applications.remaining)
            if not any(is_of(registration, model) for registration in remaining - wanted):
                return
            await asyncio.sleep(LOOKING_S)

    async def rolled(self) -> tuple[str, ...]:
        """The ids of all hosted base models, once all of their replicas have this one's code."""
        while (ids := await asyncio.to_thread(self._rolled)) is None:
            await asyncio.sleep(PERIOD_S)
        return ids

    # ---- inside -------------------------------------------------------------------------------------------------

    def _application(self, model: str) -> str | None:
        base = self._find(model)
        if base is None or not base.hosted:
            return None
        with self._following:
            return self._rollout.application(base)

    def _follow(self) -> None:
        with self._following:
            self._rollout.follow(self._hosted())

    def _rolled(self) -> tuple[str, ...] | None:
        with self._following:
            hosted = self._hosted()
            return tuple(base.id for base in hosted) if self._rollout.is_over(hosted) else None

    def _hosted(self) -> tuple[BaseModel, ...]:
        return tuple(base for base in self._all_bases() if base.hosted)

    def _find(self, model: str) -> BaseModel | None:
        try:
            return self._registry.find_base_model(model)
        except NotFound:
            return None

    def _all_bases(self) -> Iterator[BaseModel]:
        after = None
        while page := self._registry.list_base_models(PAGE, after):
            yield from page
            after = page[-1].id

    def _run(self) -> None:
        waiting = threading.Event()
        while not waiting.wait(PERIOD_S):
            try:
                self._follow()
            except RegistryError as error:
                log.warning("the registry isn't followed: %s", error.detail)
            except Exception:  # Serve's controller may be away, as the registry may
                log.exception("the registry isn't followed")
