"""The environment's `ADAPTER_SERVICE_*` variables: settings, what Kubernetes sets, and what nobody knows.

A misspelt setting would leave its default in force without a word. So every variable that is no setting is an error,
except those that Kubernetes puts into each container beside a Service that is called `adapter-service`.
"""

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource

PREFIX = "ADAPTER_SERVICE_"
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_INJECTED = re.compile(r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+", re.ASCII | re.IGNORECASE)
_INJECTED_PORT = re.compile(r"tcp://.+")


class StrictEnvironment(EnvSettingsSource):
    """The environment as a source of settings. Variables that are no settings become fields that don't exist."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        injected = {name.lower() for name in injected_by_kubernetes(os.environ)}
        self.env_vars = {name: value for name, value in self.env_vars.items() if name not in injected}

    def __call__(self) -> dict[str, Any]:
        own = {name.removeprefix(PREFIX.lower()): value for name, value in self.env_vars.items() if _is_ours(name)}
        unknown = {name: value for name, value in own.items() if name not in self.settings_cls.model_fields}
        return {**super().__call__(), **unknown}


def injected_by_kubernetes(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the variables that Kubernetes sets for a Service `adapter-service`, in order."""
    return tuple(sorted(name for name, value in environment.items() if _is_ours(name) and _is_injected(name, value)))


def advice_on(name: str, known: Iterable[str]) -> str:
    """What to do about `ADAPTER_SERVICE_…` that is no setting; names without their prefix, as Settings has them."""
    close = get_close_matches(name.lower(), list(known), n=1)
    meant = f"did you mean {PREFIX}{close[0].upper()}?" if close else "docs/operations/settings.md lists them all."
    return f"there is no such setting; {meant}"


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX)


def _is_injected(name: str, value: str) -> bool:
    rest = name[len(PREFIX) :]
    return bool(_INJECTED.fullmatch(rest) or (rest.upper() == "PORT" and _INJECTED_PORT.fullmatch(value)))
