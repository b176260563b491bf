"""vLLM serves this registry's adapters: a resolver that pulls what a request names and vLLM doesn't know yet.

vLLM finds `register` by the entry point group `vllm.general_plugins` and calls it in each of its processes. vLLM itself
is imported there alone, so that the client needs it nowhere else.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, Final

from service.client.asynchronous import AsyncClient
from service.client.errors import NotFound
from service.client.retries import Retries
from service.client.version_cache import VersionCache

log = logging.getLogger(__name__)

NAME: Final = "adapter-service"
DIRECTORY: Final = "~/.cache/adapter-service/versions"
MAX_BYTES: Final = 20 << 30
LORA: Final = "LORA"
RETRIES = Retries(attempts=2, longest_s=2.0)
"""Few: a caller of vLLM's waits, and all who ask for the same name wait behind them."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_REFERENCE: Final = re.compile(rf"(?:{_NAME}:)?{_NAME}(?:@{_NAME})?")


class RegistryResolver:
    """A `LoRAResolver` of vLLM's: references (`tone`, `tone@3`, `tone@prod`, `team:tone`) of LoRA adapters."""

    def __init__(
        self, connect: Callable[[], AsyncClient], cache: VersionCache, request: Callable[..., Any], model: str | None
    ) -> None:
        """`connect` makes a client of the registry; `request` is vLLM's `LoRARequest`; `model` the base model's id
        in the registry, by default the last part of what vLLM calls it."""
        self._connect = connect
        self._cache = cache
        self._request = request
        self._model = model

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
        """A `LoRARequest` for the version that `lora_name` means now; None where the registry has no such LoRA adapter
        on this base model. Raises what the client and the cache do: a registry that is away is no missing adapter."""
        if not _REFERENCE.fullmatch(lora_name):
            return None
        model = self._model or PurePath(base_model_name).name
        async with self._connect() as client:
            try:
                adapter = await client.adapters.get(lora_name.partition("@")[0])
            except NotFound:
                return None
            version = adapter.find(lora_name)
            if version is None or version.method != LORA or adapter.model != model:
                log.info("The registry's %s is no version of a %s adapter on %s.", lora_name, LORA, model)
                return None
            place = await self._cache.fetch(client, version)
        log.info("%s is %s (%s), in %s.", lora_name, version.reference, version.digest, place)
        return self._request(lora_name=lora_name, lora_int_id=_number_of(lora_name), lora_path=str(place))


def register() -> None:
    """Have vLLM ask the registry at ADAPTERS_URL, with the key ADAPTERS_KEY; nothing where that isn't set.

    ADAPTERS_MODEL is the base model's id in the registry, ADAPTERS_CACHE the directory of pulled versions, and
    ADAPTERS_CACHE_BYTES its limit. Raises `ValueError` where that is no number.
    """
    url = os.environ.get("ADAPTERS_URL")
    if not url:
        return
    limit = os.environ.get("ADAPTERS_CACHE_BYTES") or str(MAX_BYTES)
    if not limit.isdecimal():
        raise ValueError(f"ADAPTERS_CACHE_BYTES is {limit!r}: give a whole number of bytes.")
    connect = partial(AsyncClient, url, os.environ.get("ADAPTERS_KEY") or None, retries=RETRIES)
    directory = Path(os.environ.get("ADAPTERS_CACHE") or DIRECTORY).expanduser()
    requests, resolvers = import_module("vllm.lora.request"), import_module("vllm.lora.resolver")
    cache, model = VersionCache(directory, int(limit)), os.environ.get("ADAPTERS_MODEL")
    resolver = RegistryResolver(connect, cache, requests.LoRARequest, model)
    resolvers.LoRAResolver.register(RegistryResolver)
    resolvers.LoRAResolverRegistry.register_resolver(NAME, resolver)


def _number_of(name: str) -> int:
    """From 1 on, the same in every process. vLLM gives its own instead."""
    return 1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:3], "big")
