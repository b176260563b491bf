"""The public keys of an OIDC issuer: fetched by its discovery document, kept, fetched again for a key nobody knows yet.

Knows HTTP as a client, and no token. https://openid.net/specs/openid-connect-discovery-1_0.html
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from models_registry.errors import Unavailable

DISCOVERY: Final = "/.well-known/openid-configuration"
TIMEOUT_S: Final = 5.0
MOST_BYTES: Final = 1 << 20
KEPT_S: Final = 600.0
"""After so long the keys are fetched anew, so that what the issuer has withdrawn is refused."""
RETRY_S: Final = 10.0
"""The issuer is asked at most this often, whatever tokens arrive."""
SHORTEST_RSA: Final = 2048
_OF_TYPE: Final[Mapping[str, tuple[str, ...]]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
"""By kind of key, what it may sign with: neither `none`, nor secrets that both sides know (HS256)."""

Fetch: TypeAlias = Callable[[str], Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key, the algorithms it may sign with, and the number of the key set that it was fetched in."""

    public: Any
    algorithms: tuple[str, ...]
    edition: int


class IssuerKeys:
    """Safe under threads; one fetches while the others wait. Constructing it fetches nothing."""

    def __init__(self, issuer: str, fetch: Fetch | None = None, now: Callable[[], float] = monotonic) -> None:
        """`fetch` gives the JSON that a URL has; it raises `httpx.HTTPError` or `ValueError`. `now` is in seconds."""
        self._issuer = issuer
        self._fetch = fetch or fetch_json
        self._now = now
        self._fetching = threading.Lock()
        self._keys: Mapping[str | None, IssuerKey] = {}
        self._raw: Any = None
        self._fetched_at = self._asked_at = float("-inf")
        self._away = False
        self.edition = 0
        """Number of the key set; it grows when the set changes. Tokens verified by an earlier set are verified
        again."""

    def find(self, id: str | None) -> IssuerKey | None:
        """The key that the issuer calls so, None where it has none; without an `id` its only one. May block. Raises
        `Unavailable` where that can't be known, because the issuer is away."""
        now = self._now()
        if id in self._keys and now - self._fetched_at < KEPT_S:
            return self._keys[id]
        # A caller whose key is known continues with it while another thread fetches newer ones.
        if self._fetching.acquire(blocking=id not in self._keys):
            try:
                if now - self._asked_at >= RETRY_S:
                    self._asked_at = now
                    self._refresh()
            finally:
                self._fetching.release()
        if id not in self._keys and self._away:
            raise Unavailable("The identity provider can't be reached, so that this token can't be checked.")
        return self._keys.get(id)

    def _refresh(self) -> None:
        try:
            raw = self._fetch_set()
        except (httpx.HTTPError, ValueError, TypeError) as error:
            log.warning("the keys of the issuer %s can't be fetched: %s", self._issuer, error)
            self._away = True
            return
        self._fetched_at, self._away = self._now(), False
        if raw != self._raw:
            self._raw, self._keys = raw, _read_set(raw, self.edition + 1)
            self.edition += 1

    def _fetch_set(self) -> list[Any]:
        document = self._fetch(self._issuer.rstrip("/") + DISCOVERY)
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise ValueError("its discovery document names another issuer")
        place = document.get("jwks_uri")
        if not isinstance(place, str) or not is_trusted(place):
            raise ValueError("its discovery document has no jwks_uri with https")
        found = self._fetch(place)
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list):
            raise TypeError("its jwks_uri gives no key set")
        return keys


def is_trusted(url: str) -> bool:
    """Whether nobody between us and the URL can answer in its place: https, or this machine itself."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"})
        )
    except ValueError:
        return False


def fetch_json(url: str) -> Any:
    """Follows no redirect. Raises `httpx.HTTPError`, `ValueError` for what is no JSON or larger than a megabyte."""
    with httpx.stream("GET", url, timeout=TIMEOUT_S, headers={"accept": "application/json"}) as answer:
        if not answer.is_success:
            raise ValueError(f"{url} answers {answer.reason_phrase or 'with an error'}")
        body = bytearray()
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > MOST_BYTES:
                raise ValueError(f"{url} answers more than {MOST_BYTES} bytes")
    return json.loads(body)


def _read_set(found: list[Any], edition: int) -> Mapping[str | None, IssuerKey]:
    """By id, and under None if there is only one. Keys that aren't for signatures, or that we can't read, are left
    out."""
    keys: dict[str | None, IssuerKey] = {}
    for entry in found:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        allowed = _OF_TYPE.get(str(entry.get("kty")), ())
        try:
            public = PyJWK(entry).key if allowed else None
        except (PyJWTError, ValueError, TypeError) as error:
            log.warning("a key of the issuer can't be read: %s", error)
            continue
        if public is None or (isinstance(public, RSAPublicKey) and public.key_size < SHORTEST_RSA):
            continue
        named = entry.get("alg")
        keys[str(entry.get("kid"))] = IssuerKey(public, tuple(one for one in allowed if named in {None, one}), edition)
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    return keys
