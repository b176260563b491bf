"""The environment's `ADAPTER_SERVICE_*` variables: settings, what Kubernetes sets, and what nobody knows.

A misspelt setting would leave its default in force without a word. So every variable that is no setting is an error,
except those that Kubernetes puts into each container beside a Service that is called `adapter-service`.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource

from models_registry.errors import Invalid

PREFIX = "ADAPTER_SERVICE_"
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_INJECTED = re.compile(r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+", re.ASCII | re.IGNORECASE)
_INJECTED_PORT = re.compile(r"tcp://.+")


class StrictEnvironment(EnvSettingsSource):
    """The environment as a source of settings. Variables that are no settings become fields that don't exist."""

    def __init__(self, settings_cls: type[BaseSettings], in_files: Collection[str]) -> None:
        """`in_files` are settings of which `…_FILE` may name a file that holds the value, as Docker and Kubernetes give
        secrets. Raises `Invalid` for one that can't be read, or that is given both ways."""
        super().__init__(settings_cls)
        injected = {name.lower() for name in injected_by_kubernetes(os.environ)}
        given = {name: value for name, value in self.env_vars.items() if name not in injected}
        self.env_vars = {**given, **_from_files(given, in_files)}
        for name in in_files:
            self.env_vars.pop(f"{PREFIX}{name}_file".lower(), None)

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


def _from_files(given: Mapping[str, str | None], names: Collection[str]) -> dict[str, str]:
    read: dict[str, str] = {}
    for name in names:
        setting = f"{PREFIX}{name}".lower()
        file = given.get(f"{setting}_file")
        if file is None:
            continue
        if setting in given:
            raise Invalid(f"{setting.upper()} and {setting.upper()}_FILE are both set; set one of them.")
        try:
            read[setting] = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"{setting.upper()}_FILE names {file!r}, which can't be read: {error}.") from error
    return read


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX)


def _is_injected(name: str, value: str) -> bool:
    rest = name[len(PREFIX) :]
    return bool(_INJECTED.fullmatch(rest) or (rest.upper() == "PORT" and _INJECTED_PORT.fullmatch(value)))
