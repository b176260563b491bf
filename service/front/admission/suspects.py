"""Requests whose forward ended their model's host, by what they asked for.

A host may die under several requests at once, and only one of them is to blame. Each is tried once more, alone; the one
that ends the host again is refused from then on.
"""

import json
import threading
import time
from collections.abc import Iterator
from hashlib import sha256

import torch
from cachetools import TTLCache

from service.front.access.names import stored
from service.front.requests import AdapterChoice, InferRequest
from service.protocol.errors import RequestEndsHost

KEPT, KEPT_S = 10_000, 3600.0
MOST_STRIKES = 2


class Suspects:
    """By the digest of a request's content: which hosts died under it within the hour."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._strikes: TTLCache[str, frozenset[str]] = TTLCache(KEPT, KEPT_S, time.monotonic)

    def suspects(self, request: InferRequest) -> bool:
        """Whether a host died under it. Raises `RequestEndsHost` where two did."""
        if not self._strikes:
            return False
        digest = content_digest(request)
        with self._changing:
            strikes = self._strikes.get(digest, frozenset())
        if len(strikes) >= MOST_STRIKES:
            raise _refusal(request)
        return bool(strikes)

    def strike(self, request: InferRequest, host: str) -> None:
        """This host died under it. Raises `RequestEndsHost` if it was the second one. Of equal requests that ran when a
        host died, all are struck by the same death."""
        digest = content_digest(request)
        with self._changing:
            strikes = self._strikes[digest] = self._strikes.get(digest, frozenset()) | {host}
        if len(strikes) >= MOST_STRIKES:
            raise _refusal(request)

    def acquit(self, request: InferRequest) -> None:
        """It was answered."""
        digest = content_digest(request)
        with self._changing:
            self._strikes.pop(digest, None)


def content_digest(request: InferRequest) -> str:
    """Of everything that decides what a forward does."""
    digest = sha256()
    for part in _parts(request):
        digest.update(part)
    return digest.hexdigest()


def _parts(request: InferRequest) -> Iterator[bytes]:
    adapters = request.adapters
    choices = list(adapters) if isinstance(adapters, tuple) else [adapters]
    asked = [
        request.model,
        isinstance(adapters, tuple),
        [_exact(choice) for choice in choices],
        request.outputs,
        dict(request.parameters) if request.parameters is not None else None,
        request.chat,
        request.inputs.texts,
        request.inputs.tokens,
        [[dict(message) for message in chat] for chat in request.inputs.chats],
        [dict(tool) for tool in request.inputs.tools],
        [(name, str(tensor.dtype), list(tensor.shape)) for name, tensor in request.inputs.tensors.items()],
    ]
    yield json.dumps(asked).encode()  # whatever JSON may hold, numbers of any size included
    for tensor in request.inputs.tensors.values():
        yield tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _exact(choice: AdapterChoice) -> object:
    """In the registry's names, for one name may be two teams' adapters."""
    if choice is None or isinstance(choice, str):
        return choice and stored(choice)
    return [(stored(reference), weight) for reference, weight in choice.items()]


def _refusal(request: InferRequest) -> RequestEndsHost:
    return RequestEndsHost(
        f"This request ended the process of the base model {request.model!r} twice, so it is not tried again within "
        "the hour. Send other inputs, or have the model's code looked at: the log names the signal."
    )
