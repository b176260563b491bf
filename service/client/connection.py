"""What both clients do alike at their connection: headers, how a call becomes a request, and what a failure is."""

from typing import Any

import httpx

from service.client.calls import Call
from service.client.errors import Unreachable


def headers_of(key: str | None) -> dict[str, str]:
    """The headers of every request."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def options_of(call: Call[Any]) -> dict[str, Any]:
    """The call as arguments of httpx's `request`."""
    options: dict[str, Any] = {"params": dict(call.params), "headers": dict(call.headers)}
    if call.json is not None:
        options["json"] = call.json
    if call.content is not None:
        options["content"] = call.content
    if call.files is not None:
        options["files"] = dict(call.files)
        options["data"] = dict(call.form or {})
    if call.timeout_s is not None:
        options["timeout"] = call.timeout_s
    return options


def unreachable(url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    """The failure in words; names neither headers nor the key."""
    if isinstance(error, httpx.TimeoutException):
        return Unreachable(f"{url} gave no answer in time ({type(error).__name__}).")
    if isinstance(error, httpx.ConnectError):
        return Unreachable(f"Nothing answers at {url}: check the address, and that the service runs.")
    reason = str(error).rstrip(".") or type(error).__name__
    return Unreachable(f"The connection to {url} broke: {reason}.")
