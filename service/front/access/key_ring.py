"""The keys in memory, by what a caller sends: no request reads the database to find out who sent it."""

import base64
import logging
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from models_registry.access import Access
from models_registry.errors import RegistryError
from models_registry.records import DEFAULT_TEAM, Key, Role
from service.front.access.caller import SERVICE, Caller

PREFIX: Final = "ask_"
"""Of every key, so that secret scanners and our own log know one when they see it."""
ADMIN_KEY: Final = "admin-key"
"""The id of the key that the operator chose."""

USES_PERIOD: Final = timedelta(minutes=1)
"""So old what is written of a key's last use may be."""

log = logging.getLogger(__name__)


class Unknown(Exception):
    """There is no such caller: no key where one is needed, or one that isn't, or is no longer, valid."""


class KeyRing:
    """Reading it is free and safe from any thread."""

    def __init__(
        self, access: Access, admin_key: str | None, anonymous: Role | None, takes_tokens: bool = False
    ) -> None:
        """`anonymous` is the role of callers without a key; None: admin as long as there are no keys, then they are
        refused. `takes_tokens`: there are other callers than those with keys."""
        self._access = access
        self._anonymous = None if anonymous is None else Caller(DEFAULT_TEAM, anonymous)
        self._admin = {} if admin_key is None else {digest_of(admin_key): Caller(DEFAULT_TEAM, "admin", ADMIN_KEY)}
        self._takes_tokens = takes_tokens
        self._keys: Mapping[str, Key] = {}
        self._digests: Mapping[str, str] = {}
        self._used: dict[str, datetime] = {}
        self._written: dict[str, datetime] = {}
        self.teams: frozenset[str] = frozenset()
        """The names of all there are."""

    @property
    def is_open(self) -> bool:
        """Whether callers without a key may do anything. Once there was a key, never again."""
        return self._anonymous is None and not self._keys and not self._admin and not self._takes_tokens

    def is_admin_key(self, sent: str) -> bool:
        """Whether the operator chose it, in whatever form."""
        return bool(self._admin) and digest_of(sent) in self._admin

    def refresh(self) -> None:
        """See every team and every key that was made or revoked until now. Raises `Unavailable`."""
        self.teams = self._access.team_names()
        self._keys = {key.digest: key for key in self._access.list_keys()}
        self._digests = {key.id: digest for digest, key in self._keys.items()}

    def identify(self, sent: str | None) -> Caller:
        """Who sent this key. Raises `Unknown`. A service without keys takes any, for some clients always send one."""
        if self.is_open:
            return SERVICE
        if sent is None:
            if self._anonymous is None:
                raise Unknown
            return self._anonymous
        return self.recognize(digest_of(sent))

    def recognize(self, digest: str) -> Caller:
        """Who has the key of this digest. Raises `Unknown`."""
        if (admin := self._admin.get(digest)) is not None:
            return admin
        key = self._keys.get(digest)
        now = datetime.now(UTC)
        if key is None or not key.is_valid(now):
            raise Unknown
        self._used[key.id] = now
        limits = (_limit(key.models), _limit(key.adapters), key.expires_at is not None)
        return Caller(key.team, key.role, key.id, *limits)

    def knows(self, sent: str) -> bool:
        """Whether there ever was such a key, valid or not."""
        return digest_of(sent) in self._keys

    def digest_of(self, id: str) -> str | None:
        """Of the key with this id; None where there is none."""
        if id == ADMIN_KEY:
            return next(iter(self._admin), None)
        return self._digests.get(id)

    def flush(self) -> None:
        """Write when keys were last used, each at most once a minute. While the database is away, it waits."""
        used = {id: at for id, at in self._used.copy().items() if self._is_due(id, at)}
        if not used:
            return
        try:
            self._access.note_uses(used)
        except RegistryError as error:
            log.warning("when keys were last used was not written: %s", error.detail)
            return
        self._written.update(used)

    def _is_due(self, id: str, at: datetime) -> bool:
        written = self._written.get(id)
        return written is None or at - written >= USES_PERIOD


def new_key() -> tuple[str, str]:
    """A key's id, and the key itself, which holds 256 random bits."""
    id = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    return id, f"{PREFIX}{id}_{secrets.token_urlsafe(32)}"


def digest_of(key: str) -> str:
    # Because digests are compared, timing reveals nothing about a key.
    return sha256(key.encode(errors="surrogateescape")).hexdigest()


def _limit(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
