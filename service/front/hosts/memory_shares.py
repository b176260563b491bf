"""How the base models in memory share it: what the adapters of each may take, and there each team's."""

from collections.abc import Callable, Mapping

from models_registry.errors import NoRoom
from service.front.hosts.hosted_model import HostedModel
from service.protocol.host import ModelHost


class MemoryShares:
    """`hosted` are the models in memory at this moment, by id. `is_limited`: the operator said what a model's adapters
    may take, else models share what there is."""

    def __init__(self, hosted: Callable[[], Mapping[str, HostedModel]], is_limited: bool) -> None:
        self._hosted = hosted
        self._is_limited = is_limited
        self._of_teams: Mapping[str, float] = {}

    def set_teams(self, shares: Mapping[str, float]) -> None:
        """From now on the adapters of these teams may take these parts (0 to 1) of each model's memory for adapters.
        Hosts that start later get them too."""
        if shares == self._of_teams:
            return
        self._of_teams = dict(shares)
        for one in self._hosted().values():
            self.give_teams(one.host)

    def give_teams(self, host: ModelHost) -> None:
        host.share_resident(self._of_teams)

    def share_out(self) -> None:
        """Once a model has come into memory, or was unloaded."""
        hosted = self._hosted().values()
        for one in hosted:
            one.host.share(len(hosted))
            self.give_teams(one.host)  # it may have begun just before they were set

    def require_room_beside(self, model: str) -> None:
        """Raises `NoRoom` where this model, not in memory yet, would leave pinned adapters without room. Where a
        model has replicas on other machines, nobody knows whether it will be on one of them."""
        if self._is_limited:
            return
        hosted = self._hosted()
        for name, one in hosted.items():
            stats = one.status().stats
            share = stats.adapters.max_bytes * len(hosted) // (len(hosted) + 1)
            if not stats.replicas and stats.adapters.pinned_bytes > share:
                raise NoRoom(
                    f"With {model!r} in memory the adapters of each model may take {share} bytes, but the pinned "
                    f"ones of {name!r} take {stats.adapters.pinned_bytes}; unload some of these, or set "
                    "ADAPTER_SERVICE_MAX_RESIDENT_BYTES."
                )
