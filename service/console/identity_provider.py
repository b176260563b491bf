"""Signing in by an identity provider: OpenID Connect's authorization code flow, with PKCE, a state and a nonce.

https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth and https://www.rfc-editor.org/rfc/rfc7636. Knows
HTTP as a client, and no session.
"""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from time import time
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from models_registry.errors import Unavailable
from service.console.sessions import Attempt, Person
from service.front.access.caller import Caller, Forbidden
from service.front.access.issuer_keys import DISCOVERY, TIMEOUT_S, fetch_json, is_trusted
from service.front.access.key_ring import Unknown
from service.front.access.tokens import Claims, Tokens

AWAY: Final = "The identity provider can't be reached."


@dataclass(frozen=True, slots=True)
class Registration:
    """What the service is at the provider."""

    issuer: str
    client_id: str
    client_secret: str | None
    scopes: tuple[str, ...]


class IdentityProvider:
    """`tokens` verifies what it signs for this client. Constructing it asks the provider nothing; its calls block, and
    raise `Unavailable` where it can't be reached."""

    def __init__(self, registration: Registration, tokens: Tokens) -> None:
        self._registration = registration
        self.tokens = tokens

    @property
    def name(self) -> str:
        """Its host, as people know it."""
        return httpx.URL(self._registration.issuer).host

    def begin(self, redirect_uri: str, back: str) -> tuple[str, Attempt]:
        """Where the browser goes, and what has to be kept until it comes back."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        attempt = Attempt(state, nonce, verifier, back)
        challenge = base64.urlsafe_b64encode(sha256(attempt.verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "client_id": self._registration.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._registration.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        address = self._endpoint(self._discover(), "authorization_endpoint")
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}", attempt

    def finish(self, redirect_uri: str, attempt: Attempt, code: str) -> Claims:
        """Who brought the code. Raises `Unknown` where the provider, or its token, isn't as it must be."""
        document = self._discover()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        form |= {"code_verifier": attempt.verifier, "client_id": self._registration.client_id}
        secret, way = self._registration.client_secret, None
        methods = document.get("token_endpoint_auth_methods_supported")
        if secret is not None and isinstance(methods, list) and "client_secret_basic" not in methods:
            form["client_secret"] = secret
        elif secret is not None:
            way = httpx.BasicAuth(self._registration.client_id, secret)
        try:
            answer = httpx.post(self._endpoint(document, "token_endpoint"), data=form, auth=way, timeout=TIMEOUT_S)
            found = answer.json() if answer.is_success else None
        except httpx.HTTPError as error:
            raise Unavailable(AWAY) from error
        except ValueError as error:
            raise Unknown from error
        if not isinstance(found, dict) or not isinstance(token := found.get("id_token"), str):
            raise Unknown
        claims = self.tokens.verify_claims(token)
        if claims.nonce is None or not compare_digest(claims.nonce.encode(), attempt.nonce.encode()):
            raise Unknown
        return claims

    def recall(self, person: Person) -> Caller | None:
        """Who that is now; None once they have to sign in again, or where their claims name no team of ours."""
        if person.until < time():
            return None
        try:
            return self.tokens.caller_of(Claims(person.subject, person.teams, person.roles, person.until, 0))
        except Forbidden:
            return None

    def is_issuer(self, named: str | None) -> bool:
        """Whether an answer that names its issuer (RFC 9207) is this one's."""
        return named in {None, self._registration.issuer}

    def _discover(self) -> Mapping[str, Any]:
        issuer = self._registration.issuer
        try:
            document = fetch_json(issuer.rstrip("/") + DISCOVERY)
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(AWAY) from error
        if not isinstance(document, dict) or document.get("issuer") != issuer:
            raise Unavailable("The identity provider's discovery document names another issuer.")
        return document

    def _endpoint(self, document: Mapping[str, Any], name: str) -> str:
        place = document.get(name)
        if not isinstance(place, str) or not is_trusted(place):
            raise Unavailable(f"The identity provider's discovery document has no {name} with https.")
        return place
