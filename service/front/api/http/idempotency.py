"""`Idempotency-Key`: who asks for a creation again under the same key, say after a lost answer, doesn't get it twice.

The key belongs to one request: its route, and its body as it was parsed, so that a form's boundary or the order of a
JSON object's keys doesn't count. The registry keeps keys with what was created, for a day; a request that failed leaves
none.
"""

import json
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Annotated

from fastapi import Header, Request
from pydantic import BaseModel

from models_registry.records import DEFAULT_TEAM, Once
from service.front.access.caller import current_caller

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        examples=["8f14e45f-ea1f-4bd6-9c5e-2f0e1c6b7a90"],
        pattern="^[!-~]{1,255}$",
        description="The caller's own word for this creation, of 1 to 255 visible ASCII characters. For 24 hours the "
        "same request under the same key creates nothing more and is answered as the first was, while another request "
        "under it is 409. A request that fails, or a dry run, uses no key up.",
    ),
]


def asked_once(key: str | None, request: Request, body: BaseModel) -> Once | None:
    """None where the caller gave no key. Reads all of `body`, so that it may block."""
    if key is None:
        return None
    asked = {"method": request.method, "path": request.url.path, "body": body.model_dump()}
    team = current_caller().team
    owned = key if team == DEFAULT_TEAM else f"{team} {key}"  # no key holds a space
    return Once(owned, sha256(json.dumps(asked, sort_keys=True, default=_as_digest).encode()).hexdigest())


def _as_digest(contents: bytes | Path) -> str:
    """What JSON has no word for is a file, in memory or on the disk."""
    if isinstance(contents, bytes):
        return sha256(contents).hexdigest()
    with contents.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
