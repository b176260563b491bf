"""One attempt at hosting a base model, and what became of it."""

import time
from dataclasses import dataclass, field
from datetime import datetime

from models_registry.errors import Invalid
from service.front.hosts.hosted_model import HostedModel
from service.front.hosts.returning import NONE, Returning
from service.front.requests import BuildStep, ModelState
from service.protocol.host import ModelHost


@dataclass(slots=True, eq=False)
class Place:
    """A load that no longer finds its own place in the table was replaced by another.

    `registered_at` distinguishes a model from a later one of the same id. `reason` is `error` as text that can be
    stored. `host` is there from the attempt's beginning, `hosted` once the model is ready. `step` is what a build is
    at, `begun_at` when it began, in `time.monotonic()` seconds, `usual_s` how long the last one took in this process.
    `deaths` are the times at which earlier hosts died, and `returning` the adapters that the last one had; `restarts`
    counts all of them, `last_death` says how the last died. `kept_failed`: it died too often here, so that only a load
    in this process tries it again, not a build in another one. `is_awaited`: the model was ready when the service last
    ran, so that the service isn't ready while this load goes on.
    """

    state: ModelState
    registered_at: datetime | None = None
    reason: str | None = None
    error: Invalid | None = None
    host: ModelHost | None = None
    hosted: HostedModel | None = None
    step: BuildStep = "waiting"
    usual_s: float | None = None
    begun_at: float = field(default_factory=time.monotonic)
    deaths: tuple[float, ...] = ()
    returning: Returning = NONE
    restarts: int = 0
    last_death: str | None = None
    kept_failed: bool = False
    is_awaited: bool = False


UNKNOWN = Place("unloaded")
