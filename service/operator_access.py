"""What an operator does to keys and teams on the database itself, beside the running service or without one."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from models_registry.access import Access
from models_registry.errors import Invalid
from models_registry.records import Key
from models_registry.storage.database import migrate, open_database
from service.front.access.caller import ROLES, SERVICE
from service.front.services.keys import Keys
from service.settings import Settings

_MOST = 1_000_000


def make_key(settings: Settings, role: str, name: str, team: str) -> str:
    """A new key, which is shown this once. Raises `Invalid` for the role, `NotFound` for the team, `Unavailable`."""
    if role not in ROLES:
        raise Invalid(f"{role!r} is no role; use {', '.join(ROLES)}.")
    with _opened(settings) as access:
        _, secret = Keys(access, catch_up=lambda: None).create(SERVICE, name, role, team)
        return secret


def describe_keys(settings: Settings) -> Iterator[str]:
    """A line for each. Raises `Unavailable`."""
    now = datetime.now(UTC)
    with _opened(settings) as access:
        for key in access.list_keys():
            yield f"{key.id}  {key.role:<9}  {key.team}  {key.name}  {_state(key, now)}"


def revoke(settings: Settings, id: str) -> None:
    """Raises `NotFound`, `Unavailable`."""
    with _opened(settings) as access:
        access.revoke_key(id)


def add_team(settings: Settings, name: str) -> None:
    """Raises `Invalid` for the name, `Conflict` if it is taken, `Unavailable`."""
    with _opened(settings) as access:
        access.add_team(name)


def remove_team(settings: Settings, name: str) -> None:
    """Raises `NotFound`, `Conflict` with everything that is still its, `Unavailable`."""
    with _opened(settings) as access:
        access.remove_team(name)


def describe_teams(settings: Settings) -> Iterator[str]:
    """A line for each. Raises `Unavailable`."""
    with _opened(settings) as access:
        for team in access.list_teams(_MOST):
            limits = ", ".join(f"{name} {limit}" for name, limit in team.limits.as_dict().items())
            yield f"{team.name}  {limits or 'no limits'}"


@contextmanager
def _opened(settings: Settings) -> Generator[Access]:
    if settings.migrates_at_start:
        migrate(settings.database_url)
    with closing(open_database(settings.database_url)) as database:
        yield Access(database)


def _state(key: Key, now: datetime) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if not key.is_valid(now):
        return f"expired {key.expires_at:%Y-%m-%d}"
    return f"valid, last used {key.last_used_at:%Y-%m-%d}" if key.last_used_at else "valid, never used"
