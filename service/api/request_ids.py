"""`X-Request-ID`: one id in the answer, in a problem's `request_id` and in the log's line for the request.

A proxy's or a caller's own id is kept, so that one id follows a request through all logs.
"""

import re
from functools import partial
from uuid import uuid4

from asgi_correlation_id import CorrelationIdMiddleware

HEADER = "X-Request-ID"
_SHORT_AND_PRINTABLE = re.compile(r"[!-~]{1,128}")


def _own_or_new(sent: str) -> str:
    return sent if _SHORT_AND_PRINTABLE.fullmatch(sent) else uuid4().hex


# The library's validator writes a warning for each id that it refuses: a caller could fill the log with them.
IdentifyRequests = partial(CorrelationIdMiddleware, header_name=HEADER, validator=None, transformer=_own_or_new)
"""Keeps the request's own id of up to 128 visible ASCII characters; any other request gets a new one."""
