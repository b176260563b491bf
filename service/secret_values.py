"""The secrets that this process was given, so that they can be hidden wherever they turn up."""

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote

from pydantic import SecretStr

from models_registry.redaction import Redactor
from service.settings import Settings

_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD", "HF_TOKEN")
_USERINFO = re.compile(r"[^:/]+://[^:/@]*:(?P<password>.*)@", re.DOTALL)
_PASSWORDS = frozenset({"password", "sslpassword"})


def redactor_of(settings: Settings) -> Redactor:
    """Hides what these settings and the environment hold."""
    urls = (settings.database_url, settings.blob_url, settings.s3_endpoint)
    return Redactor((*secret_values(urls, os.environ), *settings.secrets()))


def secret_of(setting: SecretStr | None) -> str | None:
    return None if setting is None else setting.get_secret_value()


def secret_values(urls: tuple[str | None, ...], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The passwords in `urls`, as they are written and as they are meant, and the environment's keys."""
    in_urls = (password for url in urls if url is not None for password in _passwords_in(url))
    return (*in_urls, *(environment[name] for name in _VARIABLES if environment.get(name)))


def _passwords_in(url: str) -> Iterator[str]:
    if found := _USERINFO.match(url):
        yield found["password"]
        yield unquote(found["password"])
    _, _, query = url.partition("?")
    yield from (value for name, value in parse_qsl(query) if name in _PASSWORDS)
