"""What the service says of models, adapters and answers, as frozen values.

Fields that a newer service adds are left out here, so that an older client keeps working; `raw` has all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from service.client.tensors import Array

Raw: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Model:
    """A base model. `state` is `loading`, `ready`, `restarting`, `failed` or `unloaded`; `reason` says why."""

    id: str
    state: str
    reason: str | None
    task: str | None
    fingerprint: str | None
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Self:
        return cls(raw["id"], raw["state"], raw.get("reason"), raw.get("task"), raw.get("fingerprint"), raw)


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version. `reference` names exactly this one, as in `tone@3`; `digest` is of its state dict."""

    version: int
    reference: str
    method: str
    digest: str
    parameters: int
    bytes: int
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Self:
        return cls(
            raw["version"],
            raw["reference"],
            raw["method"],
            raw["digest"],
            raw["parameters"],
            raw["bytes"],
            raw,
        )

    @property
    def created_at(self) -> str | None:
        """In ISO 8601."""
        return self.raw.get("created_at")

    @property
    def metadata(self) -> Raw:
        return self.raw.get("metadata") or {}


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of a push, or of its dry run. `unchanged`: the newest version has these bytes already."""

    name: str
    model: str
    version: Version
    warnings: tuple[str, ...]
    unchanged: bool

    @classmethod
    def read(cls, raw: Raw) -> Self:
        unchanged = bool(raw.get("unchanged", False))
        return cls(raw["name"], raw["model"], Version.read(raw), tuple(raw.get("warnings", ())), unchanged)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter: its versions in ascending order, and its aliases by name."""

    name: str
    model: str
    versions: tuple[Version, ...]
    aliases: Mapping[str, int]
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Self:
        versions = tuple(Version.read(version) for version in raw["versions"])
        return cls(raw["name"], raw["model"], versions, raw["aliases"], raw)

    @property
    def newest(self) -> Version:
        return self.versions[-1]

    def find(self, reference: str) -> Version | None:
        """The version that `tone`, `tone@3`, `tone@prod` or `tone@latest` means, if there is one."""
        selector = reference.partition("@")[2]
        if selector in ("", "latest"):
            return self.newest
        number = self.aliases.get(selector, int(selector) if selector.isdecimal() else None)
        return next((version for version in self.versions if version.version == number), None)


@dataclass(frozen=True, slots=True)
class Answer:
    """An inference: one `adapter` and one `digest` for each row, or one in all where there are no rows.

    `outputs` are the arrays, `texts` the outputs that are one string for each row. bfloat16 is read as float32, which
    holds all of its values.
    """

    model: str
    adapter: tuple[str | Mapping[str, float] | None, ...]
    digest: tuple[str | Mapping[str, str] | None, ...]
    outputs: Mapping[str, Array]
    texts: Mapping[str, tuple[str, ...]]
    timing: Mapping[str, float]
