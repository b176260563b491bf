"""Which replicas keep a pinned version in memory: as many as were asked for, also after some have ended.

Each replica remembers what is to be pinned, so that any front can see to it that a replica which starts gets its part.
"""

from collections.abc import Collection, Mapping
from hashlib import sha256

from models_registry.errors import Unavailable
from models_registry.records import AdapterVersion
from service.protocol.replicas import PinWish, ReplicaPlace
from service.transports.ray_replicas import Replicas


class PinKeeper:
    """For one event loop."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._shares: Mapping[str, float] | None = None
        self._seen: set[str] = set()

    async def load(self, version: AdapterVersion, pin: bool, count: int | None) -> None:
        """On `count` replicas, None: all of them. Raises what the load raises, `Unavailable` while there is none."""
        places = await self._replicas.places()
        if not places:
            raise Unavailable("The base model has no replica at this moment; try again.")
        if pin:
            await self._replicas.all("wish", PinWish(version, count), False)
        names = _chosen(places, version.key, count)
        for said in await self._replicas.all("load", version, pin, names, False):
            self._replicas.value_of(said)

    async def share(self, shares: Mapping[str, float]) -> None:
        """Parts of memory that teams may take, also on replicas that start later."""
        self._shares = shares
        await self._replicas.all("share_resident", shares)

    async def look(self, places: Collection[ReplicaPlace]) -> None:
        """See to it that these replicas, which are all that there are, have their parts of what is pinned."""
        names = {place.name for place in places}
        if names - self._seen and self._shares is not None:
            await self._replicas.all("share_resident", self._shares)
        self._seen = names
        wishes = {wish.version.key: wish for place in places for wish in place.wishes}
        for key, wish in wishes.items():
            having = {place.name for place in places if key in place.pinned}
            missing = tuple(name for name in _chosen(places, key, wish.replicas) if name not in having)
            if missing:
                # Those that start know of no wish yet; those that were told since that it is over forget none of that.
                await self._replicas.all("wish", wish, True)
                await self._replicas.all("load", wish.version, True, missing, True)


def _chosen(places: Collection[ReplicaPlace], key: str, count: int | None) -> tuple[str, ...]:
    """First those that have it pinned, then in an order that every front finds, another one for each version."""

    def order(place: ReplicaPlace) -> tuple[bool, bytes]:
        return key not in place.pinned, sha256(f"{place.name} {key}".encode()).digest()

    return tuple(place.name for place in sorted(places, key=order)[:count])
