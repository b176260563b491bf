"""What every command of `adapterctl` begins with, its settings, and how it ends where something is wrong."""

import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from models_registry.errors import Invalid, RegistryError
from models_registry.redaction import redacted
from service.environment import injected_by_kubernetes
from service.log import start_log
from service.secret_values import redactor_of
from service.settings import Settings, read_settings

log = logging.getLogger(__name__)

STORES = ("database_url", "blob_url", "s3_endpoint")
"""The settings that say where the registry and its blobs are."""


def settings_of(**flags: Any) -> Settings:
    """Flags go before the environment, and this before the configuration file. Starts the log. Ends the process with
    every setting that is wrong."""
    try:
        settings = read_settings(**flags)
    except Invalid as error:
        fail(str(error))
    start_log(settings.log_format, redactor_of(settings), level=settings.log_level)
    if injected := injected_by_kubernetes(os.environ):
        log.info("Ignored, as Kubernetes sets them for a Service of this name: %s.", ", ".join(injected))
    return settings


@contextmanager
def explained() -> Generator[None]:
    """Ends the process with what the registry says is wrong."""
    try:
        yield
    except RegistryError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    typer.echo(redacted(message), err=True)
    sys.exit(2)
