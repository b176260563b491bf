"""Who is signed in to the console: a signed cookie that names a key, never the key itself.

A key that is revoked or expires ends its sessions at once, because each request looks it up in the ring.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from hmac import new as hmac
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


@dataclass(frozen=True, slots=True)
class Session:
    """`token` must stand in every form that changes something. `key` is the id of the key that was given, with a
    `proof` of which one that was; None before anybody signed in."""

    token: str
    key: str | None = None
    proof: str | None = None


class Sessions:
    """Reads and writes what the cookie holds."""

    def __init__(self, secret: str | None) -> None:
        """Without a `secret`, other processes don't know this one's sessions."""
        self._secret = (secret or secrets.token_hex()).encode()
        self._serializer = URLSafeTimedSerializer(
            self._secret, salt="console", signer_kwargs={"digest_method": sha256, "key_derivation": "hmac"}
        )

    def read(self, cookie: str | None) -> Session | None:
        """None where it isn't ours, or was idle for too long."""
        if cookie is None:
            return None
        try:
            token, key, proof = self._serializer.loads(cookie, max_age=IDLE_S)
        except (BadData, ValueError, TypeError):
            return None
        return Session(token, key, proof)

    def write(self, session: Session) -> str:
        written: Any = self._serializer.dumps((session.token, session.key, session.proof))
        return written if isinstance(written, str) else written.decode()

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

    def caller_of(self, session: Session, ring: KeyRing) -> Caller | None:
        """None where nobody has signed in, or their key is no longer valid."""
        if session.key is None or session.proof is None:
            return None
        digest = ring.digest_of(session.key)
        if digest is None or not compare_digest(self._proof_of(digest), session.proof):
            return None
        try:
            return ring.recognize(digest)
        except Unknown:
            return None

    def _proof_of(self, digest: str) -> str:
        return hmac(self._secret, f"key {digest}".encode(), sha256).hexdigest()
