"""How long hosts may take for what."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class HostTimes:
    """Seconds. A build that takes longer than `load_s`, and a forward that takes longer than `forward_s`, end with
    their host; a model that is unloaded waits `closing_s` for the requests that run. From its start on, the service is
    not ready for at most `ready_s`, while it loads the models that were ready when it last ran."""

    load_s: float = 1800.0
    forward_s: float = 600.0
    closing_s: float = 30.0
    ready_s: float = 60.0


DEFAULT_TIMES: Final = HostTimes()
