"""`If-Match` (RFC 9110): a change is only wanted while its caller's picture of what is stored is still right."""

import re
from typing import Annotated

from fastapi import Depends, Header, Request

from service.front.api.problems import MALFORMED, Refused

_ETAG = r'(?:W/)?"[^"]*"'
_ETAGS = re.compile(rf"[\s,]*{_ETAG}(?:\s*,[\s,]*{_ETAG})*[\s,]*")
_STRONG = re.compile(r'(W/)?"([^"]*)"')


def parse_if_match(header: str) -> frozenset[str] | None:
    """The ETags of a list, without their quotes; None for `*`, which anything that is stored matches. A weak ETag is
    left out, for it matches nothing here. Raises `Refused` (400)."""
    if header.strip() == "*":
        return None
    if not _ETAGS.fullmatch(header):
        raise Refused(MALFORMED, f"If-Match must be *, or ETags in double quotes with commas between; not {header}.")
    return frozenset(etag for weak, etag in _STRONG.findall(header) if not weak)


async def _if_match(
    request: Request,
    header: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="ETags of states, with commas between, or `*`: the newest one must be among them, else 412.",
            examples=[f'"{"1f" * 32}"'],
        ),
    ] = None,
) -> frozenset[str] | None:
    # A list's lines belong together (RFC 9110); clients that are generated can only send one of text.
    return None if header is None else parse_if_match(", ".join(request.headers.getlist("if-match")))


IfMatch = Annotated[frozenset[str] | None, Depends(_if_match)]
"""The digests of which the newest version must have one; None where any will do."""
