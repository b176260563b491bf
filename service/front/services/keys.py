"""The verbs of keys: who may make them, and what a new one may do at most."""

from collections.abc import Callable
from datetime import UTC, datetime

from models_registry.access import Access
from models_registry.errors import Invalid, NotFound
from models_registry.records import Fault, Key, Role
from service.front.access.caller import Caller, Forbidden
from service.front.access.key_ring import digest_of, new_key


class Keys:
    """Every verb may block. What is made or revoked here is in force here at once, elsewhere within two seconds."""

    def __init__(self, access: Access, catch_up: Callable[[], None]) -> None:
        """`catch_up` has a service in this process see what is in the registry."""
        self._access = access
        self._catch_up = catch_up

    def create(
        self,
        caller: Caller,
        name: str,
        role: Role,
        team: str | None = None,
        models: tuple[str, ...] | None = None,
        adapters: tuple[str, ...] | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[Key, str]:
        """A new key, with the key itself, which is shown this once. Raises `Forbidden`, `NotFound` for the team,
        `Invalid` for a time that has passed."""
        now = datetime.now(UTC)
        if expires_at is not None and expires_at <= now:
            message = "has passed already; name a later time, or leave it out"
            raise Invalid("The key would never be valid.", [Fault(("expires_at",), message)])
        if caller.is_limited:
            raise Forbidden(
                "A key that is limited to models, adapters or a time makes no others; send one without limits."
            )
        _require_below(caller, role)
        owner = caller.team if team is None else team
        _require_own(caller, owner)
        id, secret = new_key()
        key = Key(id, digest_of(secret), name, owner, role, now, caller.key, models, adapters, expires_at)
        self._access.add_key(key)
        self._catch_up()
        return key, secret

    def list(self, caller: Caller) -> tuple[Key, ...]:
        """Those that the caller may revoke, the oldest first, revoked ones too."""
        return tuple(key for key in self._access.list_keys() if caller.may("admin") or key.team == caller.team)

    def revoke(self, caller: Caller, id: str) -> None:
        """Raises `NotFound`, also for another team's; `Forbidden` for one with a higher role than the caller's."""
        key = next((key for key in self.list(caller) if key.id == id), None)
        if key is None:
            raise NotFound(f"There is no key {id!r}.")
        _require_below(caller, key.role)
        self._access.revoke_key(id)
        self._catch_up()


def _require_below(caller: Caller, role: Role) -> None:
    if not caller.may(role):
        raise Forbidden(f"A {caller.role} makes, and revokes, keys up to the role {caller.role}, not {role}.")


def _require_own(caller: Caller, team: str) -> None:
    if team != caller.team and not caller.may("admin"):
        raise Forbidden(f"A {caller.role} makes keys for their own team {caller.team!r}, not for {team!r}.")
