"""Which version wrote an answer, in the two places that OpenAI's API has for it: a fingerprint and a header."""

import json
from collections.abc import Mapping

from service.front.requests import AdapterChoice, Digest

HEADER = "X-Adapter"
SHOWN_DIGITS = 12


def fingerprint(model: str, adapter: AdapterChoice, digest: Digest) -> str:
    """`pirate@1:f3465b11eed0`; of a composition `pirate@1:f3465b11eed0*0.7+poet@2:0a1b2c3d4e5f*0.3`; the base model's
    id where there is no adapter."""
    if isinstance(adapter, Mapping) and isinstance(digest, Mapping):
        return "+".join(f"{_named(one, digest[one])}*{weight:g}" for one, weight in adapter.items())
    return _named(adapter, digest) if isinstance(adapter, str) and isinstance(digest, str) else model


def version_headers(adapter: AdapterChoice) -> dict[str, str]:
    """The exact reference, or JSON of a composition; none for the base."""
    if adapter is None:
        return {}
    return {HEADER: adapter if isinstance(adapter, str) else json.dumps(dict(adapter))}


def _named(reference: str, digest: str) -> str:
    return f"{reference}:{digest.removeprefix('sha256:')[:SHOWN_DIGITS]}"
