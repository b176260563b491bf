"""Which role each call needs: the one table of the service. No app is made with a route that has no line here."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from models_registry.records import Role

OPEN: Final = frozenset(
    {"/health/live", "/health/ready", "/openapi.json", "/version", "/v2", "/v2/health/live", "/v2/health/ready"}
)
"""Open to everyone who reaches the port; so are pages and assets below `OPEN_BELOW`."""
OPEN_BELOW: Final = ("/docs", "/static-offline-docs", "/console/login", "/console/assets")
CONSOLE: Final = "/console"
"""Pages lie below it: they are in this table, and not in the OpenAPI document."""

_CALLER: Final = """
POST /models/{model_id}/infer
POST /v1/chat/completions
POST /v1/completions
POST /v1/embeddings
POST /v1/responses
GET /console/playground
POST /console/models/{model_id}/try
GET /console/compare
POST /console/models/{model_id}/compare
POST /v2/models/{model_id}/infer
POST /v2/models/{model_id}/versions/{reference}/infer
"""
_READER: Final = """
GET /models
GET /models/{model_id}
GET /models/{model_id}/modules
GET /models/{model_id}/adapters
GET /adapters
GET /adapters/{name}
GET /adapters/{name}/versions
GET /adapters/{name}/versions/{version}
GET /adapters/{name}/state
HEAD /adapters/{name}/state
GET /adapters/{name}/config
GET /adapters/{name}/strength
GET /adapters/{name}/diff
GET /adapters/{name}/checkpoint
GET /adapters/{name}/aliases
GET /adapters/{name}/aliases/{alias}/comparison
GET /events
GET /v1/models
GET /v1/models/{model}
GET /v1/models/{model}/{reference}
GET /v2/models/{model_id}
GET /v2/models/{model_id}/ready
GET /v2/models/{model_id}/versions/{reference}
GET /v2/models/{model_id}/versions/{reference}/ready
GET /teams/{team}
GET /usage
GET /console
POST /console/logout
GET /console/adapters
GET /console/adapters/{name}
GET /console/adapters/{name}/map
GET /console/activity
GET /console/usage
"""
_PUBLISHER: Final = """
POST /models/{model_id}/adapters
POST /models/{model_id}/adapters/compose
POST /models/{model_id}/adapters/{name}/load
POST /models/{model_id}/adapters/{name}/unload
POST /adapters/{name}/versions
PUT /adapters/{name}/state
PUT /adapters/{name}/aliases/{alias}
POST /adapters/{name}/aliases/{alias}/rollback
DELETE /adapters/{name}/aliases/{alias}
DELETE /adapters/{name}
DELETE /adapters/{name}/versions/{version}
PATCH /adapters/{name}
PATCH /adapters/{name}/versions/{version}
POST /v1/load_lora_adapter
POST /v1/unload_lora_adapter
GET /keys
POST /keys
DELETE /keys/{id}
GET /console/adapters/{name}/move
POST /console/adapters/{name}/aliases/{alias}
GET /console/upload
POST /console/models/{model_id}/adapters
POST /console/adapters/{name}/versions
GET /console/access
POST /console/keys
POST /console/keys/{id}/revoke
"""
_ADMIN: Final = """
POST /models
PATCH /models/{model_id}
DELETE /models/{model_id}
POST /models/{model_id}/load
POST /models/{model_id}/unload
GET /models/{model_id}/host
GET /metrics
GET /teams
POST /teams
PATCH /teams/{team}
DELETE /teams/{team}
POST /console/teams
POST /console/teams/{team}/remove
"""
_TABLE: Final[Mapping[Role, str]] = {
    "caller": _CALLER,
    "reader": _READER,
    "publisher": _PUBLISHER,
    "admin": _ADMIN,
}


@dataclass(frozen=True, slots=True)
class Needed:
    """What a call needs: a role, and to see what its address names, as `model_id` or `name`."""

    role: Role
    named: Mapping[str, str]

    @property
    def changes(self) -> bool:
        """Whether it needs a role that changes something, as readers' and callers' don't."""
        return self.role in {"publisher", "admin"}


class RouteRoles:
    """The table, ready to be asked for every request."""

    def __init__(self) -> None:
        self._roles: dict[str, list[tuple[re.Pattern[str], Role]]] = {}
        for method, path, role in entries():
            # As the router matches: its `$` also lets a line's end pass, so an address with one is the route's too.
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", f"^{path}$")
            self._roles.setdefault(method, []).append((re.compile(pattern), role))

    def find(self, method: str, path: str) -> Needed | None:
        """None where nothing has the address."""
        for pattern, role in self._roles.get(method, ()):
            if found := pattern.match(path):
                return Needed(role, found.groupdict())
        return None


def is_open(path: str) -> bool:
    return path in OPEN or any(path == below or path.startswith(f"{below}/") for below in OPEN_BELOW)


def entries() -> Iterator[tuple[str, str, Role]]:
    """Method, path as the OpenAPI document writes it, role."""
    for role, lines in _TABLE.items():
        for line in lines.split("\n"):
            if line:
                method, path = line.split(" ")
                yield method, path, role
