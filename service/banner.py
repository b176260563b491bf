"""What `serve` says first: what it is, what it works on, what it allows, and who may change that."""

from collections.abc import Iterator
from importlib.metadata import version

from models_registry.redaction import Redactor
from service.settings import Settings


def banner(settings: Settings, redact: Redactor) -> Iterator[str]:
    """The lines, without secrets."""
    yield f"Adapter Service {version('adapter-service')}, for http://{_host(settings)}:{settings.port}{settings.root_path}"
    yield f"database {redact(settings.database_url)}, blobs {redact(settings.blob_url)}"
    roots = ", ".join(map(str, settings.model_roots)) or "none"
    yield f"model roots {roots}; factories {', '.join(settings.factories) or 'none'}; device {settings.device}"
    yield f"limits: {', '.join(_limits(settings))}"


def _host(settings: Settings) -> str:
    return f"[{settings.host}]" if ":" in settings.host else settings.host


def _limits(settings: Settings) -> Iterator[str]:
    """Every setting that is one, by its own name."""
    for name, value in settings:
        if name.startswith("max_"):
            yield f"{name} {'by default' if value is None else value}"
