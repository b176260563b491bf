"""A story of changes to a registry, one acknowledged after the other, and what of it can be seen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeAlias

from models_registry.errors import NotFound
from models_registry.records import Architecture, Once, PythonSource
from models_registry.registry import Registry

FINGERPRINT = "f" * 64
BLOB_BYTES = 20_000

Deed: TypeAlias = Callable[[Registry, int], object]


def weights(number: int, part: int) -> bytes:
    """The bytes of one version of the story with that number."""
    return sha256(f"{number} {part}".encode()).digest() * (BLOB_BYTES // 32)


def digest(number: int, part: int) -> str:
    return sha256(weights(number, part)).hexdigest()


def content(number: int, part: int) -> dict[str, Any]:
    return {
        "method": "LORA",
        "config": {"peft_type": "LORA"},
        "weights": weights(number, part),
        "parameters": 1,
        "targets": ["linear"],
        "metadata": {"part": part},
    }


def once(number: int, part: int) -> Once:
    return Once(f"key {number} {part}", FINGERPRINT)


STORY: Sequence[Deed] = (
    lambda registry, n: registry.register_base_model(f"base-{n}", PythonSource("bases:mlp")),
    lambda registry, n: registry.record_built(f"base-{n}", Architecture((), FINGERPRINT, 1, 4)),
    lambda registry, n: registry.create_adapter(f"base-{n}", f"tone-{n}", once=once(n, 1), **content(n, 1)),
    lambda registry, n: registry.add_version(f"tone-{n}", if_match=[digest(n, 1)], once=once(n, 2), **content(n, 2)),
    lambda registry, n: registry.move_alias(f"tone-{n}", "prod", 1),
    lambda registry, n: registry.move_alias(f"tone-{n}", "prod", 2),
    # Bytes that are stored already.
    lambda registry, n: registry.add_version(f"tone-{n}", if_match=[digest(n, 2)], **content(n, 1)),
    lambda registry, n: registry.remove_version(f"tone-{n}", 1),
    lambda registry, n: registry.create_adapter(f"base-{n}", f"gone-{n}", **content(n, 3)),
    lambda registry, n: registry.remove_adapter(f"gone-{n}"),
    lambda registry, n: registry.remove_alias(f"tone-{n}", "prod"),
    lambda registry, n: registry.set_hosted(f"base-{n}", False),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a story has left, with its number taken out. Blobs were read, and have the digests that name them."""

    model: tuple[bool, str | None] | None
    adapters: Mapping[str, tuple[Sequence[tuple[int, int]], Mapping[str, int]]]
    remembered: tuple[int | None, ...]
    events: Sequence[tuple[str, str]]


def look(registry: Registry, number: int) -> Seen:
    """What is there of the story with that number."""
    parts = {digest(number, part): part for part in (1, 2, 3)}
    adapters: dict[str, Any] = {}
    for name in ("tone", "gone"):
        try:
            adapter = registry.find_adapter(f"{name}-{number}")
        except NotFound:
            continue
        for version in adapter.versions:
            assert registry.read_weights(version) == weights(number, parts[version.digest])
        adapters[name] = ([(v.version, parts[v.digest]) for v in adapter.versions], dict(adapter.aliases))
    created = [registry.find_created(once(number, part)) for part in (1, 2)]
    return Seen(
        _model(registry, f"base-{number}"),
        adapters,
        tuple(found[0].version if found else None for found in created),
        list(_events(registry, number)),
    )


def _events(registry: Registry, number: int) -> Iterator[tuple[str, str]]:
    after = 0
    while events := registry.list_events(1000, after):
        for event in events:
            name, _, selected = event.subject.partition("@")
            if name.endswith(f"-{number}"):
                yield event.kind, f"{name.removesuffix(f'-{number}')}@{selected}"
        after = events[-1].id


def _model(registry: Registry, id: str) -> tuple[bool, str | None] | None:
    try:
        model = registry.find_base_model(id)
    except NotFound:
        return None
    return model.hosted, model.fingerprint
