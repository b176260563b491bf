"""Keys that the ring doesn't know yet: how often the registry is asked for them."""

import asyncio
from datetime import UTC, datetime

import pytest

from models_registry.access import Access
from models_registry.errors import Unavailable
from models_registry.records import Key
from models_registry.storage.database import Database
from service.front.access.caller import Caller
from service.front.access.fresh_keys import REFUSED_S, FreshKeys
from service.front.access.key_ring import KeyRing, Unknown, digest_of, new_key


class Front:
    """A ring that follows what another process writes to the database, and counts its looks."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.ring = KeyRing(access, "the-operators-own-key", None)
        self.now = 0.0
        self.fresh = FreshKeys(lambda: self.now)
        self.looks = 0
        self.is_away = False

    def catch_up(self) -> None:
        self.looks += 1
        if self.is_away:
            raise Unavailable("The database is away.")
        self.ring.refresh()

    async def identify(self, key: str) -> Caller | None:
        self.now += 1.0  # no look has to wait for the last one
        try:
            return await self.fresh.identify(self.ring, key, self.catch_up)
        except Unknown:
            return None

    def identify_each(self, *keys: str) -> list[Caller | None]:
        """At the same time."""

        async def identify() -> list[Caller | None]:
            return await asyncio.gather(*map(self.identify, keys))

        return asyncio.run(identify())

    def made_elsewhere(self) -> tuple[str, str]:
        """A key and its id, in the database alone."""
        id, key = new_key()
        made = Key(id, digest_of(key), "test", "default", "caller", datetime(2026, 1, 1, tzinfo=UTC))
        self.access.add_key(made)
        return key, id


@pytest.fixture
def front(database: Database) -> Front:
    return Front(Access(database))


def test_a_key_made_elsewhere_is_found_by_one_look(front: Front) -> None:
    key, id = front.made_elsewhere()
    (caller,) = front.identify_each(key)
    assert (caller and caller.key, front.looks) == (id, 1)
    front.identify_each(key)
    assert front.looks == 1


def test_all_who_wait_share_a_look(front: Front) -> None:
    (fresh, id), wrong = front.made_elsewhere(), [new_key()[1] for _ in range(50)]
    *refused, caller = front.identify_each(*wrong, fresh)
    assert refused == [None] * 50
    assert caller
    assert (caller.key, front.looks) == (id, 1)


def test_a_key_that_nobody_made_is_looked_for_once_in_a_while(front: Front) -> None:
    wrong = new_key()[1]
    for _ in range(3):
        assert front.identify_each(wrong) == [None]
    assert front.looks == 1
    front.now += REFUSED_S
    assert front.identify_each(wrong) == [None]
    assert front.looks == 2


def test_what_is_no_key_of_ours_or_was_revoked_is_not_looked_for(front: Front) -> None:
    key, id = front.made_elsewhere()
    front.identify_each(key)
    front.access.revoke_key(id)
    front.ring.refresh()
    assert front.identify_each(key, "wrong", "") == [None] * 3
    assert front.looks == 1


def test_while_the_database_is_away_a_fresh_key_is_unknown_and_looked_for_again(front: Front) -> None:
    key, id = front.made_elsewhere()
    front.is_away = True
    assert front.identify_each(key) == [None]
    front.is_away = False
    (caller,) = front.identify_each(key)
    assert caller
    assert caller.key == id
