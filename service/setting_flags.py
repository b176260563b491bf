"""Flags of a command, made from `Settings`: each has its setting's name, and its text as help."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo

from service.settings import Settings, is_secret

FLAGS = tuple(name for name, field in Settings.model_fields.items() if not is_secret(field))
"""The settings that a flag may give."""

_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_SIGN = re.compile(r"`(\W)`")


def setting_flags(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command that takes `**flags` one flag for each of these settings, after its own parameters.

    The command gets those that were given on the command line and no others. Numbers are read by typer, everything
    else reaches `Settings` as the text it was.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_flags(**given: Any) -> None:
            absent = [name for name in names if given[name] is None]
            command(**{name: value for name, value in given.items() if name not in absent})

        own = [one for one in inspect.signature(command).parameters.values() if one.kind is not one.VAR_KEYWORD]
        flags = [_flag(name, Settings.model_fields[name]) for name in names]
        with_flags.__signature__ = inspect.Signature([*own, *flags])  # pyright: ignore[reportAttributeAccessIssue]
        with_flags.__annotations__ = {one.name: one.annotation for one in (*own, *flags)}
        return with_flags

    return decorate


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    kinds = {field.annotation, *get_args(field.annotation)}
    kind = next((kind for kind in (bool, int, float) if kind in kinds), str)
    switch = (f"--{name.replace('_', '-')}",) if field.default is False else ()
    option = typer.Option(*switch, help=_help(field))
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _help(field: FieldInfo) -> str:
    """The setting's text, without its Markdown."""
    text = _SIGN.sub(r"'\1'", _LINK.sub(r"\1", field.description or ""))
    return text.replace("`", "").replace("\n", " ")
