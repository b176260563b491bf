"""`If-Match` (RFC 9110): a change is only wanted while its caller's picture of what is stored is still right."""

import re
from typing import Annotated

from fastapi import Depends, Header

from service.api.problems import MALFORMED, Refused

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
    values: Annotated[
        list[str] | None,
        Header(alias="If-Match", description="ETags of states: the newest one must be among them, else 412."),
    ] = None,
) -> frozenset[str] | None:
    return None if values is None else parse_if_match(", ".join(values))


IfMatch = Annotated[frozenset[str] | None, Depends(_if_match)]
"""The digests of which the newest version must have one; None where any will do."""
