"""A `Content-Type`, read in time that grows with its length alone; the standard library's readers take its square."""

import re
from dataclasses import dataclass, field

_NAME = re.compile(r"[^;]*")
_PARAMETER = re.compile(r'\s*;\s*(?:([^\s=;"]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*)))?')


@dataclass(frozen=True, slots=True)
class MediaType:
    """`name` in lower case, without parameters; the parameters by their names in lower case, unquoted."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict[str, str])


def parse_media_type(header: str) -> MediaType:
    """Reads as far as the header follows RFC 9110; what comes behind is left out. Of a parameter that comes twice the
    first one counts."""
    name = _NAME.match(header)
    assert name is not None  # it may be empty
    parameters: dict[str, str] = {}
    at = name.end()
    while (parameter := _PARAMETER.match(header, at)) is not None:
        key, quoted, plain = parameter.groups()
        if key is not None:
            parameters.setdefault(key.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        at = parameter.end()
    return MediaType(name[0].strip().lower(), parameters)
