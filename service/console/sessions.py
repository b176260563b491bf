"""Who is signed in to the console: a signed cookie that names a key, never the key itself.

A key that is revoked or expires ends its sessions at once, because each request looks it up in the ring.
"""

import secrets
from dataclasses import astuple, dataclass
from hashlib import sha256
from hmac import compare_digest
from hmac import new as hmac
from time import time
from typing import Any, Final

from itsdangerous import BadData, URLSafeTimedSerializer

from service.front.access.caller import Caller
from service.front.access.key_ring import KeyRing, Unknown, digest_of

COOKIE: Final = "adapter_console"
IDLE_S: Final = 8 * 3600
"""So long a session lasts without a request."""
SESSION: Final = "service.console.session"
"""In the scope: the session of whoever asks; an endpoint may put another one there."""
HERE: Final = "/console"
LOGIN: Final = f"{HERE}/login"
PERSON_S: Final = 3600
"""So long an identity provider's word is taken for who somebody is; then they sign in there again."""
ATTEMPT_S: Final = 600
"""So long a login there may take."""


@dataclass(frozen=True, slots=True)
class Session:
    """`token` must stand in every form that changes something. `key` is the id of the key that was given, with a
    `proof` of which one that was; `person` is who signed in by an identity provider. None before anybody signed in."""

    token: str
    key: str | None = None
    proof: str | None = None
    person: "Person | None" = None

    @property
    def is_signed_in(self) -> bool:
        return self.key is not None or self.person is not None


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in by an identity provider, as its token said it then; good `until` so many seconds after 1970."""

    subject: str
    teams: tuple[str, ...]
    roles: tuple[str, ...]
    until: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to an identity provider and back. What it sends must hold the `state`, and its token the `nonce`; the
    `verifier` proves that whoever brings the code is who began. `back` is where it leads."""

    state: str
    nonce: str
    verifier: str
    back: str


class Sessions:
    """Reads and writes what the cookie holds."""

    def __init__(self, secret: str | None) -> None:
        """Without a `secret`, other processes don't know this one's sessions."""
        self._secret = (secret or secrets.token_hex()).encode()
        self._serializer = self._signer("console")
        self._attempts = self._signer("console login")

    def read(self, cookie: str | None) -> Session | None:
        """None where it isn't ours, or was idle for too long."""
        if cookie is None:
            return None
        try:
            token, key, proof, person = self._serializer.loads(cookie, max_age=IDLE_S)
            return Session(token, key, proof, None if person is None else _person(*person))
        except (BadData, ValueError, TypeError):
            return None

    def write(self, session: Session) -> str:
        person = None if session.person is None else astuple(session.person)
        return _text(self._serializer.dumps((session.token, session.key, session.proof, person)))

    def write_attempt(self, attempt: Attempt) -> str:
        """What a login by an identity provider has to find again."""
        return _text(self._attempts.dumps(astuple(attempt)))

    def read_attempt(self, cookie: str | None) -> Attempt | None:
        """None where it isn't ours, or is too old."""
        try:
            return None if cookie is None else Attempt(*self._attempts.loads(cookie, max_age=ATTEMPT_S))
        except (BadData, ValueError, TypeError):
            return None

    def begin(self) -> Session:
        """Nobody's, for a form of its own."""
        return Session(secrets.token_urlsafe(24))

    def sign_in(self, ring: KeyRing, key: str) -> Session | None:
        """A new one, for who sent this key; None where it isn't valid."""
        try:
            caller = ring.identify(key)
        except Unknown:
            return None
        if caller.key is None:  # a service without keys takes any, and then nobody signs in
            return None
        return Session(secrets.token_urlsafe(24), caller.key, self._proof_of(digest_of(key)))

    def welcome(self, subject: str, teams: tuple[str, ...], roles: tuple[str, ...]) -> Session:
        """A new one, for whom an identity provider named."""
        return Session(secrets.token_urlsafe(24), person=Person(subject, teams, roles, time() + PERSON_S))

    def caller_of(self, session: Session, ring: KeyRing) -> Caller | None:
        """Of a session by a key. None where nobody has signed in so, or their key is no longer valid."""
        if session.key is None or session.proof is None:
            return None
        digest = ring.digest_of(session.key)
        if digest is None or not compare_digest(self._proof_of(digest), session.proof):
            return None
        try:
            return ring.recognize(digest)
        except Unknown:
            return None

    def _signer(self, purpose: str) -> URLSafeTimedSerializer:
        signing = {"digest_method": sha256, "key_derivation": "hmac"}
        return URLSafeTimedSerializer(self._secret, salt=purpose, signer_kwargs=signing)

    def _proof_of(self, digest: str) -> str:
        return hmac(self._secret, f"key {digest}".encode(), sha256).hexdigest()


def _text(written: Any) -> str:
    return written if isinstance(written, str) else written.decode()


def _person(subject: str, teams: list[str], roles: list[str], until: float) -> Person:
    return Person(subject, tuple(teams), tuple(roles), until)
