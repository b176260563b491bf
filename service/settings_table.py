"""The table in docs/operations/settings.md, made from `Settings`."""

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import ByteSize
from pydantic.fields import FieldInfo

from service.environment import PREFIX
from service.settings import Settings, is_secret, may_lie_in_file

_HEAD = "| variable | default | |\n| --- | --- | --- |\n"
_TABLE = re.compile(re.escape(_HEAD) + r"(?:\|.*\n)*")


def with_table(page: str) -> str:
    """`page` with its table of settings as it is now. Raises `ValueError` if it has none."""
    if not _TABLE.search(page):
        raise ValueError(f"The page has no table that begins with {_HEAD.splitlines()[0]!r}.")
    rows = "".join(f"{_row(name, field)}\n" for name, field in Settings.model_fields.items())
    return _TABLE.sub(lambda _: _HEAD + rows, page)


def _row(name: str, field: FieldInfo) -> str:
    default = _written(field.default)
    return f"| `{PREFIX}{name.upper()}` | {f'`{default}`' if default else ''} | {' '.join(_texts(name, field))} |"


def _texts(name: str, field: FieldInfo) -> Iterable[str]:
    yield (field.description or "").replace("\n", " ").replace("|", "\\|")
    if is_secret(field):
        yield "Not a flag."
    if may_lie_in_file(name, field):
        yield f"`…_{name.upper()}_FILE` may name a file that holds it."


def _written(default: object) -> str:
    """A default as the environment would give it; empty if there is none."""
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case ByteSize():
            return default.human_readable(separator="").replace(".0", "")
        case float():
            return f"{default:g}"
        case tuple():
            items: tuple[str | Path, ...] = default
            return (":" if any(isinstance(item, Path) for item in items) else ",").join(map(str, items))
        case _:
            return str(default)
