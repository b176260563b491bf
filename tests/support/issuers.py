"""An identity provider on this machine: real keys, a real server, and tokens as right or as wrong as a test wants."""

import base64
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "adapters"
CLIENT, SECRET = "the-console", "its-secret"


class Issuer:
    """`url` is its address. `published` are its keys; `asked` counts how often they were fetched. `person` are claims
    of whoever signs in there, beside the usual ones."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.away = False
        self.private: dict[str, Any] = {}
        self.published: list[dict[str, Any]] = []
        self.begun: dict[str, dict[str, str]] = {}
        self.person: dict[str, Any] = {}

    def add_rsa(self, id: str, **more: Any) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._publish(id, key, RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), more)

    def add_ec(self, id: str, **more: Any) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._publish(id, key, ECAlgorithm.to_jwk(key.public_key(), as_dict=True), more)

    def _publish(self, id: str, key: Any, public: dict[str, Any], more: dict[str, Any]) -> None:
        self.private[id] = key
        self.published.append({**public, "kid": id, "use": "sig", **more})

    def withdraw(self, id: str) -> None:
        self.published = [key for key in self.published if key["kid"] != id]

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Those of a caller of the team `default`; what is changed to None is left out."""
        now = int(time())
        right = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ann",
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            "team": "default",
            "role": "publisher",
        }
        return {name: value for name, value in {**right, **changed}.items() if value is not None}

    def token(self, key: str = "one", algorithm: str = "RS256", **changed: Any) -> str:
        return jwt.encode(self.claims(**changed), self.private[key], algorithm, headers={"kid": key})

    def bearer(self, key: str = "one", algorithm: str = "RS256", **changed: Any) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token(key, algorithm, **changed)}"}

    def answer(self, path: str) -> dict[str, Any] | None:
        if self.away:
            return None
        if path == "/.well-known/openid-configuration":
            places = {"authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/token"}
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **places}
        self.asked += 1
        return {"keys": self.published}

    # ---- logins -----------------------------------------------------------------------------------------------------

    def authorize(self, query: str) -> str:
        """Where the browser of whoever is signed in here goes next."""
        asked = dict(parse_qsl(query))
        code = f"code-{len(self.begun)}"
        self.begun[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.url})}"

    def exchange(self, form: str, authorization: str | None) -> dict[str, Any] | None:
        """The tokens for a code, once; None where anything isn't as it was when it was given."""
        sent = dict(parse_qsl(form))
        began = self.begun.pop(sent["code"], None)
        proof = base64.urlsafe_b64encode(sha256(sent["code_verifier"].encode()).digest()).decode().rstrip("=")
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if began is None or began["code_challenge"] != proof or authorization != f"Basic {basic}":
            return None
        if began["redirect_uri"] != sent["redirect_uri"] or began["client_id"] != CLIENT:
            return None
        changed = {"aud": CLIENT, "nonce": began["nonce"], **self.person}
        return {"token_type": "Bearer", "access_token": "opaque", "id_token": self.token(**changed)}


@contextmanager
def running_issuer() -> Generator[Issuer]:
    """With an RSA key `one`."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path == "/authorize":
                self.send_response(302)
                self.send_header("Location", issuer.authorize(query))
                self.end_headers()
                return
            self._send(issuer.answer(path), 503)

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._send(issuer.exchange(form, self.headers.get("Authorization")), 400)

        def _send(self, found: dict[str, Any] | None, otherwise: int) -> None:
            self.send_response(otherwise if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server calls it so
            """Says nothing: a test looks at what the service says."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    issuer.add_rsa("one")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
