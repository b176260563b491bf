"""What a form sends: its fields, once its token shows that a page of ours sent it."""

import re
from dataclasses import dataclass
from hmac import compare_digest
from typing import Annotated, Final
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from models_registry.errors import Invalid
from models_registry.records import Fault
from service.console.gate import session_of
from service.front.api.dependencies import TheSettings
from service.front.api.http.bodies import media_type_of, read_bytes
from service.front.api.http.spool import MAX_JSON
from service.front.api.problems import MALFORMED, Refused

FIELD: Final = "csrf"
HEADER: Final = "X-CSRF-Token"
FORM: Final = "application/x-www-form-urlencoded"
MOST_FIELDS: Final = 200
STALE: Final = "This form isn't of the session that you have now. Load the page again, then send it once more."


@dataclass(frozen=True, slots=True)
class Form:
    """Its fields in their order."""

    pairs: tuple[tuple[str, str], ...]

    def need(self, name: str) -> str:
        """Raises `Invalid` where it is missing or empty."""
        if value := self.get(name):
            return value
        raise Invalid("The form has wrong or missing fields.", [Fault((name,), "is missing")])

    def get(self, name: str) -> str:
        """Without the space around it; empty where it is missing."""
        return next((value.strip() for field, value in self.pairs if field == name), "")

    def all(self, name: str) -> list[str]:
        """Of a field that may be given several times."""
        return [value.strip() for field, value in self.pairs if field == name and value.strip()]

    def number(self, name: str) -> int:
        """Raises `Invalid` where it isn't one from 1 on."""
        value = self.need(name)
        if re.fullmatch(r"[1-9][0-9]{0,8}", value):
            return int(value)
        raise Invalid("The form has wrong or missing fields.", [Fault((name,), f"{value!r} is no number from 1 on")])


async def read_form(request: Request, settings: TheSettings) -> Form:
    """Raises `Refused` (400 for another session's form, 415), `TooLarge`."""
    media_type_of(request, FORM)
    body = await read_bytes(request, settings.max_json_bytes, MAX_JSON)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise Refused(MALFORMED, f"The form can't be read: {error}.") from error
    form = Form(tuple(pairs))
    _require_token(request, form.get(FIELD))
    return form


async def require_token(request: Request) -> None:
    """Of what a page's script sends, in a header. Raises `Refused` (400)."""
    _require_token(request, request.headers.get(HEADER, ""))


def _require_token(request: Request, sent: str) -> None:
    if not compare_digest(sent.encode(), session_of(request).token.encode()):
        raise Refused(MALFORMED, STALE)


TheForm = Annotated[Form, Depends(read_form)]
FromOurPage = Depends(require_token)
