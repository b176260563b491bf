"""Whether pinned adapters keep their room when one more model shares the memory."""

from collections.abc import Mapping

from models_registry.errors import NoRoom
from service.front.hosts.hosted_model import HostedModel


def require_room_for_pins(model: str, places: Mapping[str, HostedModel | None]) -> None:
    """Raises `NoRoom` where `model` beside those in memory would leave their pinned adapters without room. Where a
    model has replicas on other machines, nobody knows whether it will be on one of them."""
    hosted = {name: one for name, one in places.items() if one is not None}
    for name, one in hosted.items():
        stats = one.status().stats
        share = stats.adapters.max_bytes * len(hosted) // (len(hosted) + 1)
        if not stats.replicas and stats.adapters.pinned_bytes > share:
            raise NoRoom(
                f"With {model!r} in memory the adapters of each model may take {share} bytes, but the pinned "
                f"ones of {name!r} take {stats.adapters.pinned_bytes}; unload some of these, or set "
                "ADAPTER_SERVICE_MAX_RESIDENT_BYTES."
            )
