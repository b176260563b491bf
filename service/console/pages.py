"""How pages are written: the templates, who looks at them, and how numbers and times read."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse
from starlette.types import Scope

from models_registry.records import Role
from service.console.sessions import HERE, SESSION
from service.front.access.caller import current_caller

MENU: Final[tuple[tuple[str, str, Role], ...]] = (
    ("", "Models", "reader"),
    ("/adapters", "Adapters", "reader"),
    ("/playground", "Playground", "caller"),
    ("/compare", "Compare", "caller"),
    ("/upload", "Upload", "publisher"),
    ("/activity", "Activity", "reader"),
    ("/usage", "Usage", "reader"),
    ("/access", "Keys and teams", "publisher"),
)
"""Address below the console's, title, and the role that it needs."""
UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def page(template: str, scope: Scope, **values: Any) -> HTMLResponse:
    return HTMLResponse(render(template, scope, **values))


def render(template: str, scope: Scope, **values: Any) -> str:
    """With `here`, the console's own address; `token`, which each form holds; and who looks at it."""
    session = scope.get(SESSION)
    caller = current_caller()
    here = scope.get("root_path", "") + HERE
    return (
        _templates()
        .get_template(template)
        .render(
            here=here,
            path=scope["path"],
            token="" if session is None else session.token,
            signed_in=session is not None and session.is_signed_in,
            caller=caller,
            menu=[(address, title) for address, title, needed in MENU if caller.may(needed)],
            **values,
        )
    )


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("service.console"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": size,
        "time": time,
        "iso": iso,
        "json": as_json,
        "in_path": in_path,
        "count": count,
        "shown": shown,
    }
    return environment


def size(number: int | float | None) -> str:
    """Bytes, as people write them."""
    if number is None:
        return "–"
    rest, unit = float(number), 0
    while rest >= 1000 and unit < len(UNITS) - 1:
        rest, unit = rest / 1000, unit + 1
    return f"{rest:.0f} {UNITS[unit]}" if unit == 0 else f"{rest:.1f} {UNITS[unit]}"


def count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def shown(value: object) -> str:
    """A value of an event: words as they are, all else as JSON."""
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def time(at: datetime | None) -> str:
    return "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def as_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def in_path(name: str) -> str:
    return quote(name, safe="")
