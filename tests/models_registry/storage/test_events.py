"""The log: complete, in the order of the commits, whoever writes and whoever reads along."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from threading import Event as Flag
from threading import Thread

from registering import at_once, build, content, kinds

from models_registry.errors import Conflict, NotFound
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore
from models_registry.storage.database import Database, open_database
from models_registry.storage.tables import EventRow


def test_an_event_says_what_when_and_by_whom(registry: Registry, database: Database) -> None:
    build(registry)
    version = registry.create_adapter("base", "tone", **content())

    event = registry.list_events(100)[-1]
    assert (event.kind, event.subject, event.by) == ("version.added", "tone@1", None)
    assert event.detail == {"method": "LORA", "digest": f"sha256:{version.digest}"}
    assert event.at >= version.created_at
    with database.read() as session:
        assert session.get_one(EventRow, event.id).generation == registry.generation()


def test_events_are_read_a_page_at_a_time(registry: Registry) -> None:
    build(registry)
    for name in ("a", "b", "c"):
        registry.create_adapter("base", name, **content())

    pages: list[list[str]] = []
    after = 0
    while page := registry.list_events(3, after):
        pages.append([event.subject for event in page])
        after = page[-1].id
    assert pages == [["base", "base", "a"], ["a@1", "b", "b@1"], ["c", "c@1"]]
    assert registry.list_events(3, after) == ()


def test_the_newest_events_come_first_and_go_back_a_page_at_a_time(registry: Registry) -> None:
    build(registry)
    for name in ("a", "b"):
        registry.create_adapter("base", name, **content())

    newest = registry.newest_events(3)
    older = registry.newest_events(100, newest[-1].id)
    assert [*newest, *older] == list(registry.list_events(100))[::-1]


def test_who_reads_along_while_many_write_misses_nothing(
    registry: Registry, database_url: str, blobs: BlobStore
) -> None:
    build(registry)
    others = open_database(database_url)
    writers = [registry, Registry(others, blobs)]  # as two processes would
    seen: list[tuple[int, str]] = []
    done = Flag()

    def read_along() -> None:
        last = False
        while not last:
            last = done.is_set()
            while page := registry.list_events(2, seen[-1][0] if seen else 0):
                seen.extend((event.id, event.subject) for event in page)

    reader = Thread(target=read_along)
    reader.start()

    def write(number: int) -> None:
        for turn in range(5):
            writers[number % 2].create_adapter("base", f"a{number}-{turn}", **content())
            writers[number % 2].move_alias(f"a{number}-{turn}", "prod", 1)

    assert at_once(4, write) == [None] * 4
    done.set()
    reader.join()
    others.close()

    assert [subject for _, subject in seen] == [subject for _, subject in kinds(registry)]
    assert [id for id, _ in seen] == sorted({id for id, _ in seen})
    assert len(seen) == 2 + 4 * 5 * 3


def test_the_longest_names_have_room_for_their_events(registry: Registry) -> None:
    build(registry)
    name, alias = "a" * 128, "b" * 128
    registry.create_adapter("base", name, **content())
    registry.move_alias(name, alias, 1)
    registry.remove_alias(name, alias)
    assert [subject for _, subject in kinds(registry)[-2:]] == [f"{name}@{alias}"] * 2


def change_something(registry: Registry, chance: Random) -> None:
    name, number = chance.choice("abc"), chance.randrange(1, 5)
    changes: list[Callable[[], object]] = [
        lambda: registry.create_adapter("base", name, **content(bytes([number]))),
        lambda: registry.add_version(name, **content(bytes([number]))),
        lambda: registry.add_version(name, **content(bytes([number]))),
        lambda: registry.move_alias(name, "prod", number),
        lambda: registry.remove_alias(name, "prod"),
        lambda: registry.remove_version(name, number, with_aliases=chance.random() < 0.5),
        lambda: registry.remove_adapter(name, with_aliases=chance.random() < 0.5),
    ]
    with suppress(Conflict, NotFound):
        chance.choices(changes, weights=(3, 3, 3, 3, 1, 1, 1))[0]()


def replayed(registry: Registry) -> Mapping[str, tuple[Mapping[int, str], Mapping[str, int]]]:
    """Of each adapter the digests and the aliases, by the log alone. Fails where that contradicts itself."""
    adapters: dict[str, tuple[dict[int, str], dict[str, int]]] = {}
    for event in registry.list_events(10_000):
        name, _, selector = event.subject.partition("@")
        match event.kind:
            case "adapter.created":
                assert name not in adapters
                adapters[name] = {}, {}
            case "version.added":
                adapters[name][0][int(selector)] = event.detail["digest"]
            case "version.removed":
                assert adapters[name][0].pop(int(selector)) == event.detail["digest"]
            case "alias.moved":
                assert adapters[name][1].get(selector) == event.detail["from"]
                adapters[name][1][selector] = event.detail["to"]
            case "alias.removed":
                assert adapters[name][1].pop(selector) == event.detail["from"]
            case "adapter.removed":
                versions = {int(number): digest for number, digest in event.detail["versions"].items()}
                assert adapters.pop(name) == (versions, event.detail["aliases"])
            case _:
                assert event.subject == "base"
    return adapters


def test_the_log_alone_tells_what_there_is_however_many_write_at_once(registry: Registry) -> None:
    build(registry)

    def change_much(seed: int) -> None:
        chance = Random(seed)
        for _ in range(30):
            change_something(registry, chance)

    assert at_once(6, change_much) == [None] * 6
    assert replayed(registry) == {
        adapter.name: ({version.version: f"sha256:{version.digest}" for version in adapter.versions}, adapter.aliases)
        for adapter in registry.list_adapters(10)
    }
    assert len(kinds(registry)) > 40
