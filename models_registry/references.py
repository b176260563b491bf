"""What callers may write for an adapter: a name, and a name with a version's number or an alias behind an `@`.

A name is unique within its team. The registry keeps another team's than `default` with the team before it, as
`fraud:tone`: no name holds a colon, so that this one is unique in all.
"""

import re

from models_registry.errors import Conflict, Invalid, NotFound
from models_registry.records import DEFAULT_TEAM, Adapter, AdapterVersion, Fault

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def require_name(key: str, name: str) -> None:
    """Raise `Invalid`, about the input `key`, if `name` can't name a base model, an adapter or an alias."""
    if not NAME.fullmatch(name):
        message = (
            f"{name!r} is no name: use letters, digits, '.', '_' and '-', at most 128, the first a letter or digit."
        )
        raise Invalid(message, [Fault((key,), message)])


def stored_name(team: str, name: str) -> str:
    """What the registry calls the adapter that `team` calls `name`."""
    return name if team == DEFAULT_TEAM else f"{team}:{name}"


def team_of(stored: str) -> str:
    """Whose the adapter is that the registry calls so; also of a reference to it."""
    team, colon, _ = stored.partition(":")
    return team if colon else DEFAULT_TEAM


def short_name(stored: str) -> str:
    """What its own team calls the adapter; also of a reference to it."""
    return stored.rpartition(":")[2]


LATEST = "latest"
"""In the place of an alias: the newest version."""


def require_alias(alias: str) -> None:
    """Raise `Invalid`, about the input `alias`, if `alias` can't be made to name a version: digits are a version's
    number, and `latest` is the newest one."""
    require_name("alias", alias)
    if alias.isdecimal():
        message = f"{alias!r} is no alias: all digits would be a version's number; add a letter."
        raise Invalid(message, [Fault(("alias",), message)])
    if alias == LATEST:
        message = f"{alias!r} is reserved: it names the newest version; choose another name, such as 'prod'."
        raise Invalid(message, [Fault(("alias",), message)])


def name_taken(name: str, owner: str, model: str) -> Conflict:
    """For who would create the adapter `name` on `model`, though the base model `owner` has one of that name."""
    versions = f"POST /adapters/{name}/versions adds a version to it"
    if owner == model:
        return Conflict(f"There is an adapter {name!r} already.", hint=f"{versions}; or choose another name.")
    return Conflict(
        f"There is an adapter {name!r} already, on the base model {owner!r}: names are unique over all base models.",
        hint=f"Choose another name for the one on {model!r}; {versions}, on {owner!r}.",
    )


def named_by(reference: str) -> str:
    """The adapter's name in `name`, `name@3` or `name@alias`."""
    return reference.partition("@")[0]


def pick_version(adapter: Adapter, reference: str) -> AdapterVersion:
    """The version of `adapter` that `reference` (`name`, `name@3`, `name@alias`, `name@latest`) means. Raises
    `NotFound`."""
    _, separator, selector = reference.partition("@")
    if not separator:
        return adapter.newest
    numbered = {str(version.version): version for version in adapter.versions}
    if selector in adapter.aliases:
        selector = str(adapter.aliases[selector])
    elif selector == LATEST:
        return adapter.newest
    if selector not in numbered:
        what = "version" if selector.isdecimal() else "alias"
        raise NotFound(f"The adapter {adapter.name!r} has no {what} {selector!r}.")
    return numbered[selector]


def pick_removable(adapter: Adapter, number: int) -> AdapterVersion:
    """The version of that number, which may go, for it is one of several. Raises `NotFound`; `Conflict` if it is the
    only one: an adapter without a version would be a name for nothing."""
    version = pick_version(adapter, f"{adapter.name}@{number}")
    if len(adapter.versions) == 1:
        raise Conflict(f"{version.reference} is the only version there is: remove the adapter itself instead.")
    return version


def reference_of(key: str) -> str:
    """The reference in a version's `key`, for messages."""
    return key.partition(" ")[0]
