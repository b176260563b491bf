"""Bearer tokens of an identity provider (OIDC): whose they are, to which team they belong, what they may do.

A token is verified once and known by its sha256 from then on, at most until it expires, the issuer's keys change or ten
minutes have passed. https://www.rfc-editor.org/rfc/rfc9068
"""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from time import time
from typing import Any, Final

import jwt
from cachetools import TLRUCache

from models_registry.records import Role
from service.front.access.caller import ROLES, SUBJECT, Caller, Forbidden
from service.front.access.issuer_keys import KEPT_S, IssuerKeys
from service.front.access.key_ring import KeyRing, Unknown, digest_of

CLOCK_SKEW_S: Final = 60
MOST_KNOWN: Final = 4096
LONGEST: Final = 16 * 1024
LONGEST_SUBJECT: Final = 255
"""In characters, as OIDC has it."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says: `teams` and `roles` as they stand there, `until` in seconds since 1970."""

    subject: str
    teams: tuple[str, ...]
    roles: tuple[str, ...]
    until: float
    edition: int
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Which tokens are taken, and which of their claims name the team and the role."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    team_claim: str
    role_claim: str


class Tokens:
    """Safe under threads. Constructing it asks the issuer nothing."""

    def __init__(self, rules: TokenRules, keys: IssuerKeys, ring: KeyRing) -> None:
        """`ring` knows the teams."""
        self._rules = rules
        self._keys = keys
        self._ring = ring
        self._known: TLRUCache[str, Claims] = TLRUCache(MOST_KNOWN, _known_until, time)
        self._lock = threading.Lock()

    @staticmethod
    def may_be(sent: str) -> bool:
        """Whether it has a token's form, which no key that we make has."""
        return sent.count(".") == 2 and len(sent) <= LONGEST

    def recall(self, token: str) -> Caller | None:
        """Whose it is, where that is known already: from memory. Raises `Forbidden`."""
        with self._lock:
            claims = self._known.get(digest_of(token))
        return self.caller_of(claims) if claims is not None and claims.edition == self._keys.edition else None

    def verify(self, token: str) -> Caller:
        """Whose it is; may block. Raises `Unknown` for one that isn't valid, `Forbidden` for one whose claims name no
        team of ours or no role, `Unavailable` while the issuer is away and its key isn't known."""
        claims = self.verify_claims(token)
        with self._lock:
            self._known[digest_of(token)] = claims
        return self.caller_of(claims)

    def verify_claims(self, token: str) -> Claims:
        """What it says; may block. Raises `Unknown`, `Unavailable`."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise Unknown from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        if "crit" in header or algorithm not in self._rules.algorithms or not isinstance(key_id, str | None):
            raise Unknown
        key = self._keys.find(key_id)
        if key is None:
            raise Unknown
        try:
            found: Mapping[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[one for one in key.algorithms if one in self._rules.algorithms],
                audience=self._rules.audience,
                issuer=self._rules.issuer,
                leeway=CLOCK_SKEW_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise Unknown from error
        teams, roles = (_listed(found, claim) for claim in (self._rules.team_claim, self._rules.role_claim))
        nonce = found.get("nonce")
        until = float(found["exp"]) + CLOCK_SKEW_S
        return Claims(found["sub"], teams, roles, until, key.edition, nonce if isinstance(nonce, str) else None)

    def caller_of(self, claims: Claims) -> Caller:
        """Who that is now. Raises `Forbidden` where they name no team of ours, or no role."""
        if not claims.subject.isprintable() or not 0 < len(claims.subject) <= LONGEST_SUBJECT:
            raise Forbidden(f"The token's `sub` must be 1 to {LONGEST_SUBJECT} characters that print.")
        return Caller(self._team(claims.teams), self._role(claims.roles), SUBJECT + claims.subject)

    def _team(self, named: Collection[str]) -> str:
        ours = self._ring.teams.intersection(named)
        if len(ours) != 1:
            names = len(ours) or "none"
            raise Forbidden(
                f"The token's claim {self._rules.team_claim!r} must name one team of this service; it names {names}."
            )
        return next(iter(ours))

    def _role(self, named: Collection[str]) -> Role:
        for role in reversed(ROLES):
            if role in named:
                return role
        raise Forbidden(f"The token's claim {self._rules.role_claim!r} must name a role: {', '.join(ROLES)}.")


def _known_until(_: str, claims: Claims, now: float) -> float:
    return min(claims.until, now + KEPT_S)


def _listed(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The words of a claim: one, or a list of them. `a.b` is also the member `b` of a claim `a`."""
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    words = found if isinstance(found, list) else [found]
    return tuple(word for word in words if isinstance(word, str))
