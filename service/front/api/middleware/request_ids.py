"""`X-Request-ID`: one id in the answer, in a problem's `request_id` and in the log's line for the request.

A proxy's or a caller's own id is kept, so that one id follows a request through all logs.
"""

import re
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from starlette.responses import Response

HEADER = "X-Request-ID"
_SHORT_AND_PRINTABLE = re.compile(r"[!-~]{1,128}")


def _own_or_new(sent: str) -> str:
    return sent if _SHORT_AND_PRINTABLE.fullmatch(sent) else uuid4().hex


# The library's validator writes a warning for each id that it refuses: a caller could fill the log with them.
IdentifyRequests = partial(CorrelationIdMiddleware, header_name=HEADER, validator=None, transformer=_own_or_new)
"""Keeps the request's own id of up to 128 visible ASCII characters; any other request gets a new one."""


def identified(answer: Callable[[], Response]) -> Response:
    """What `answer` makes for a request that got no further than its bytes, under a new id."""
    before = correlation_id.set(uuid4().hex)
    try:
        made = answer()
        made.headers[HEADER] = correlation_id.get() or "-"
        return made
    finally:
        correlation_id.reset(before)
