"""The sender of the request that is being answered: their team, their role, what their key is limited to."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final, get_args

from models_registry.authors import authored_by, current_author
from models_registry.errors import RegistryError
from models_registry.records import DEFAULT_TEAM, Role

SUBJECT: Final = "oidc:"
"""Stands before a token's subject, so that no user of an identity provider is called as a key of ours is."""
ROLES: Final[tuple[Role, ...]] = get_args(Role)


class Forbidden(RegistryError):
    """The caller is known, and their role doesn't allow this. A key with a higher role does."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`key` is the id of the key that they sent, or `oidc:` and their token's subject; None without either. `models`
    and `adapters` are all that they may use, None where there is no such limit. `expires` says that their key will."""

    team: str
    role: Role
    key: str | None = None
    models: frozenset[str] | None = None
    adapters: frozenset[str] | None = None
    expires: bool = False

    @property
    def key_id(self) -> str | None:
        """Of their key; None where they sent a token, or nothing."""
        return None if self.key is None or self.key.startswith(SUBJECT) else self.key

    @property
    def is_limited(self) -> bool:
        """Whether a key of their role may do more, or for longer, than theirs."""
        return self.expires or self.models is not None or self.adapters is not None

    def may(self, role: Role) -> bool:
        """Whether they may do what needs this role."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def owns(self, team: str) -> bool:
        """Whether they may change what belongs to the team."""
        return team == self.team or self.may("admin")

    def may_use(self, model: str) -> bool:
        """Whether their key isn't limited to other base models."""
        return self.models is None or model in self.models


SERVICE: Final = Caller(DEFAULT_TEAM, "admin")
"""The service itself, and callers of one that has no keys."""

_caller: ContextVar[Caller] = ContextVar("caller", default=SERVICE)


def current_caller() -> Caller:
    return _caller.get()


@contextmanager
def called_by(caller: Caller) -> Generator[None]:
    """Whatever runs inside the `with`, in this task and in the threads that it waits for, runs for `caller`."""
    token = _caller.set(caller)
    try:
        with authored_by(replace(current_author(), by=caller.key, key=caller.key_id)):
            yield
    finally:
        _caller.reset(token)
