"""The forms that settings take beside pydantic's own: lists in one string, and texts that must match a pattern."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_FACTORY = re.compile(rf"{_DOTTED}:(?:{_DOTTED}|\*)", re.ASCII)
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?", re.ASCII)
_DATABASE = re.compile(r"(sqlite|postgresql)(\+\w+)?://.*", re.ASCII | re.DOTALL)
_BLOBS = re.compile(r"file:.+|s3://.+", re.ASCII | re.DOTALL)
_PREFIX = re.compile(r"(/[\w.~-]+)*", re.ASCII)
_ISSUER = re.compile(r"https://[^/?#@\s]+[^?#\s]*|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/[^?#\s]*)?", re.ASCII)
_ORIGIN = re.compile(r"https?://(\[[\da-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?", re.ASCII)
_ENDPOINT = re.compile(r"https?://[^/].*", re.ASCII)


def _split(separator: str) -> BeforeValidator:
    def split(value: Any) -> Any:
        return tuple(part for part in value.split(separator) if part) if isinstance(value, str) else value

    return BeforeValidator(split)


def _matches(pattern: re.Pattern[str], wanted: str, shown: bool = True) -> AfterValidator:
    """A value that may hold a password is not `shown` when it is wrong."""

    def check(value: str | None) -> str | None:
        if value is not None and not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not {wanted}" if shown else f"it is not {wanted}")
        return value

    return AfterValidator(check)


DatabaseUrl = Annotated[str, _matches(_DATABASE, "a `sqlite:///…` or `postgresql://…` address", shown=False)]
BlobUrl = Annotated[str, _matches(_BLOBS, "`file:directory` or `s3://bucket/prefix`", shown=False)]
S3Endpoint = Annotated[str | None, _matches(_ENDPOINT, "an address such as `https://host`", shown=False)]
Device = Annotated[str, _matches(_DEVICE, "`auto`, `cpu`, `cuda` or `cuda:1`")]
PathPrefix = Annotated[str, _matches(_PREFIX, "a path such as `/adapters`, without a slash at its end")]

Issuer = Annotated[
    str | None, _matches(_ISSUER, "an address with https, or with http on this machine, without `?` and `#`")
]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures that only who has the private key can make."""
Algorithms = Annotated[tuple[Algorithm, ...], NoDecode, _split(","), Field(min_length=1)]

Origin = Annotated[str, _matches(_ORIGIN, "an origin such as `https://app.example.org`, without a path")]
Origins = Annotated[tuple[Origin, ...], NoDecode, _split(",")]

Directories = Annotated[tuple[Path, ...], NoDecode, _split(":")]
Names = Annotated[tuple[str, ...], NoDecode, _split(",")]
Factory = Annotated[str, _matches(_FACTORY, "`package.module:callable` or `package.module:*`")]
Factories = Annotated[tuple[Factory, ...], NoDecode, _split(",")]

Secret = Annotated[SecretStr | None, Field(min_length=16)]
