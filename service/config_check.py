"""What `serve` would do with these settings, found out without doing it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from models_registry.errors import Conflict, RegistryError, Unavailable
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import newest_schema, read_schema, sqlite_path
from service.banner import banner
from service.listening import bound_sockets
from service.secret_values import redactor_of
from service.settings import Settings

Say = Callable[[str], None]


def check(settings: Settings, say: Say) -> bool:
    """Everything that is wrong is said, not only the first thing. Whether the service would start."""
    for line in banner(settings, redactor_of(settings)):
        say(line)
    starts = True
    for name, examine in (("database", _database), ("blobs", _blobs), ("port", _port)):
        try:
            say(f"{name}: {examine(settings)}")
        except RegistryError as error:
            say(f"{name}: {redactor_of(settings)(str(error))}")
            starts = False
    for warning in _warnings(settings):
        say(f"warning: {warning}")
    say("serve would start." if starts else "serve would not start.")
    return starts


def _database(settings: Settings) -> str:
    file = sqlite_path(settings.database_url)
    if file is not None and not file.exists():
        return f"{file} isn't there and would be made, with schema {newest_schema()}"
    found, needed = read_schema(settings.database_url), newest_schema()
    if found == needed:
        return f"is at schema {needed}"
    state = f"is at schema {found}" if found else "is empty"
    if not settings.migrates_at_start:
        raise Unavailable(f"It {state} and needs {needed}: run `adapterctl migrate`, or `serve --migrate`.")
    return f"{state} and would be migrated to {needed}"


def _blobs(settings: Settings) -> str:
    scheme, _, rest = settings.blob_url.partition(":")
    directory = Path(rest.removeprefix("//"))
    if scheme == "file" and not directory.exists():
        return f"{directory} isn't there and would be made"
    open_blob_store(settings.blob_url, settings.s3_endpoint).ping()
    return "can be read and written"


def _port(settings: Settings) -> str:
    try:
        with bound_sockets(settings.host, settings.port):
            return f"{settings.port} of {settings.host} is free"
    except Conflict:
        if (running := _version_at(settings)) is None:
            raise
    return (
        f"{settings.port} of {settings.host} has an Adapter Service {running}, which has to end before this one starts"
    )


def _version_at(settings: Settings) -> str | None:
    """Of the Adapter Service that listens where this one would; None where it is something else."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        with httpx.Client(base_url=f"http://{host}:{settings.port}", timeout=2.0, trust_env=False) as client:
            live, version = client.get("/health/live"), client.get("/version")
            return str(version.json()["version"]) if live.json() == {"status": "live"} else None
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return None


def _warnings(settings: Settings) -> Iterator[str]:
    for root in settings.model_roots:
        if not root.is_dir():
            yield f"there is no directory {root}, so that no base model below it can be hosted"
