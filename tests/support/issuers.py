"""An identity provider on this machine: real keys, a real server, and tokens as right or as wrong as a test wants."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "adapters"


class Issuer:
    """`url` is its address. `keys` are those it publishes; `asked` counts how often they were fetched."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.away = False
        self.private: dict[str, Any] = {}
        self.published: list[dict[str, Any]] = []

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
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.asked += 1
        return {"keys": self.published}


@contextmanager
def running_issuer() -> Generator[Issuer]:
    """With an RSA key `one`."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = issuer.answer(self.path)
            self.send_response(503 if found is None else 200)
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
