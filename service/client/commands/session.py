"""Where the service is and which key to send: from a flag, the environment, or what `login` remembers."""

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from service.client.blocking import Client

DEFAULT_URL: Final = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Session:
    """`url_from` and `key_from` say in words where the two were set."""

    url: str
    key: str | None
    url_from: str
    key_from: str

    @classmethod
    def open(cls, url: str | None) -> "Session":
        """`url` and ADAPTERS_KEY override what is remembered. A remembered key is sent to its own address only.

        Raises `ValueError` where the file isn't one that `login` wrote.
        """
        remembered = _read()
        address = url or remembered.get("url") or DEFAULT_URL
        own = remembered.get("key") if address == remembered.get("url") else None
        given = "--url or ADAPTERS_URL" if url else "what login remembers" if "url" in remembered else "by default"
        key, key_from = os.environ.get("ADAPTERS_KEY"), "ADAPTERS_KEY"
        return cls(address.rstrip("/"), key or own, given, key_from if key else "what login remembers")

    def remember(self) -> Path:
        """For the commands that follow. Only this user can read the file. Its tables, which are adapterctl's, stay."""
        place = config_path()
        tables = _tables(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"url = {json.dumps(self.url)}", *([f"key = {json.dumps(self.key)}"] if self.key else [])]
        place.unlink(missing_ok=True)
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n" + tables)
        return place

    def client(self) -> Client:
        return Client(self.url, self.key)


def session_of(context: typer.Context) -> Session:
    return context.ensure_object(Session)


def client_of(context: typer.Context) -> Client:
    """Closed when the command ends."""
    return context.with_resource(session_of(context).client())


def config_path() -> Path:
    return Path(typer.get_app_dir("adapterctl")) / "config.toml"


def _read() -> dict[str, str]:
    place = config_path()
    if not place.is_file():
        return {}
    try:
        return tomllib.loads(place.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{place} is no TOML ({error}): repair it, or run `adapters login` again.") from error


def _tables(place: Path) -> str:
    """The file from its first table on, as it is written."""
    text = place.read_text(encoding="utf-8") if place.is_file() else ""
    begin = re.search(r"^\[", text, re.MULTILINE)
    return f"\n{text[begin.start() :]}" if begin else ""
