"""What a registry costs that holds many adapters: 10,000 with 3 versions each, beside one that holds 100.

They are as the adapters of a model with 30 layers: 60 target modules, and a config as PEFT writes it.
"""

import statistics
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from sqlalchemy import insert, text

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.records import Architecture, PythonSource
from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import Database, migrate, open_database
from models_registry.storage.tables import AdapterRow, AliasRow, VersionRow
from tests.bench.figures import Figure, medians, seconds
from tests.support.databases import DURABLE, postgres_server, sqlite_url

FEW, MANY, VERSIONS, PAGE, ROUNDS = 100, 10_000, 3, 50, 15
FINGERPRINT = "f" * 64
START_S = 2.0
TARGETS = [f"model.layers.{layer}.self_attn.{name}_proj" for layer in range(30) for name in ("q", "v")]
CONFIG = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}

Registries = Mapping[str, Registry]
"""The one with few and the one with many, by how many adapters they have."""


def registering(_: Path) -> Iterator[Figure]:
    """Seconds of a page, a look-up, a refresh after one change: flat. The start reads everything: short enough."""
    for dialect, registries in _registries():
        for work, taken in _taken(registries).items():
            yield Figure(f"{dialect}: {work} of {MANY}", f"of {FEW}", taken[str(MANY)], taken[str(FEW)], 1.5)
        start = medians({"": registries[str(MANY)].snapshot}, 3)[""]
        yield Figure(f"{dialect}: reading all {MANY} at a start", "what is short enough", start, START_S, 1.0)


def _taken(registries: Registries) -> Mapping[str, Mapping[str, float]]:
    works: Mapping[str, Callable[[Registry, str], object]] = {
        f"a page of {PAGE}": lambda registry, middle: registry.list_adapters(PAGE, middle),
        "one adapter": lambda registry, middle: registry.resolve(f"{middle}@prod"),
    }
    taken = {
        name: medians({count: partial(work, one, _middle(count)) for count, one in registries.items()}, ROUNDS)
        for name, work in works.items()
    }
    return {**taken, "seeing a change": _following(registries)}


def _following(registries: Registries) -> Mapping[str, float]:
    """A refresh after somebody has changed one adapter."""
    views = {count: registry.snapshot() for count, registry in registries.items()}
    taken: dict[str, list[float]] = {count: [] for count in registries}
    for turn in range(ROUNDS):
        for count, registry in registries.items():
            registry.move_alias(_middle(count), "prod", 1 + turn % VERSIONS)
            taken[count].append(seconds(partial(registry.snapshot, views[count])))
            views[count] = registry.snapshot(views[count])
    return {count: statistics.median(times) for count, times in taken.items()}


def _middle(count: str) -> str:
    return _name(int(count) // 2)


def _name(number: int) -> str:
    return f"adapter-{number:05}"


def _registries() -> Iterator[tuple[str, Registries]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres_server(DURABLE))
        for dialect in ("SQLite", "Postgres"):
            registries: dict[str, Registry] = {}
            for count in (FEW, MANY):
                url = sqlite_url(folder / f"{count}.db")
                if dialect == "Postgres":
                    url = stack.enter_context(server.database())
                registries[str(count)] = stack.enter_context(_filled(url, folder, count))
            yield dialect, registries


@contextmanager
def _filled(url: str, folder: Path, count: int) -> Generator[Registry]:
    migrate(url)
    with closing(open_database(url)) as database:
        registry = Registry(database, open_blob_store(f"file:{folder}/blobs"))
        registry.register_base_model("base", PythonSource("bases:mlp"))
        registry.record_built("base", Architecture((), FINGERPRINT, 1, 4))
        _fill(database, count)
        yield registry


def _fill(database: Database, count: int) -> None:
    now, config = datetime.now(UTC), dump_config(parse_config(CONFIG))
    names = [_name(number) for number in range(count)]
    with database.write() as session:
        session.execute(
            insert(AdapterRow),
            [{"name": name, "model": "base", "created_at": now, "last_version": VERSIONS} for name in names],
        )
        session.execute(
            insert(VersionRow),
            [
                {
                    "adapter": name,
                    "version": version,
                    "method": "LORA",
                    "config": config,
                    "digest": sha256(f"{name}@{version}".encode()).hexdigest(),
                    "parameters": 1,
                    "bytes": 1,
                    "targets": TARGETS,
                    "notes": {},
                    "fingerprint": FINGERPRINT,
                    "created_at": now,
                }
                for name in names
                for version in range(1, VERSIONS + 1)
            ],
        )
        session.execute(insert(AliasRow), [{"adapter": name, "alias": "prod", "version": VERSIONS} for name in names])
        # As each database does by itself in time: its statistics decide which index it takes.
        session.execute(text("ANALYZE"))
