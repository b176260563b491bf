"""Adapters of 2 MB made durable, beside the bare limit: the same bytes, fsyncs and rows with nothing around them."""

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from models_registry.records import Architecture, PythonSource
from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import SERVING, migrate, open_database
from tests.bench.figures import Figure, medians
from tests.support.databases import DURABLE, postgres_server, sqlite_url

ROUNDS, BYTES = 31, 2_000_000
BODY = os.urandom(BYTES - 8)
FINGERPRINT = "f" * 64
CONFIG = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}

Execute = Callable[[str, Sequence[Any]], object]


def persisting(_: Path) -> Iterator[Figure]:
    """Seconds of one, one after the other."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = sqlite_url(folder / "registry.db")
        yield _beside_the_limit("SQLite", url, folder, _sqlite)
        url = stack.enter_context(stack.enter_context(postgres_server(DURABLE)).database())
        yield _beside_the_limit("Postgres", url, folder, _postgres)


def _beside_the_limit(dialect: str, url: str, folder: Path, connect: Callable[[str], Execute]) -> Figure:
    migrate(url)
    numbers, bare = count(), folder / f"bare-{dialect}"
    bare.mkdir()
    with closing(open_database(url)) as database:
        registry = Registry(database, open_blob_store(f"file:{folder}/blobs"))
        registry.register_base_model("base", PythonSource("bases:mlp"))
        registry.record_built("base", Architecture((), FINGERPRINT, 1, 4))
        execute = connect(url)
        works = {
            "ours": lambda: _create(registry, next(numbers)),
            "bare": lambda: _write(execute, bare, next(numbers)),
        }
        for work in works.values():
            work()
        taken = medians(works, ROUNDS)
    return Figure(
        f"persist 2 MB: {dialect}, directory", "its bytes, fsyncs and rows", taken["ours"], taken["bare"], 2.0
    )


def _weights(number: int) -> bytes:
    return number.to_bytes(8, "little") + BODY


def _create(registry: Registry, number: int) -> None:
    registry.create_adapter(
        "base",
        f"a{number}",
        method="LORA",
        config=CONFIG,
        weights=_weights(number),
        parameters=1,
        targets=["q_proj", "v_proj"],
        metadata={},
    )


def _write(execute: Execute, folder: Path, number: int) -> None:
    """A file and its name, durable; then the rows."""
    partial_name, name = folder / f".{number}", folder / str(number)
    with partial_name.open("xb") as file:
        file.write(_weights(number))
        file.flush()
        os.fsync(file.fileno())
    partial_name.replace(name)
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    adapter, now, config = f"a{number}", datetime.now(UTC).isoformat(), json.dumps(CONFIG)
    execute("BEGIN", ())
    execute("UPDATE generation SET value = value + 1", ())
    execute("INSERT INTO adapters (name, model, created_at, last_version) VALUES (?, 'base', ?, 1)", (adapter, now))
    execute(
        "INSERT INTO versions (adapter, version, method, config, digest, parameters, bytes, targets, metadata, "
        "fingerprint, created_at) VALUES (?, 1, 'LORA', ?, ?, 1, 1, '[]', '{}', ?, ?)",
        (adapter, config, f"{number:064}", FINGERPRINT, now),
    )
    for kind in ("adapter.created", "version.added"):
        execute(
            "INSERT INTO events (generation, kind, subject, at, detail) "
            "VALUES ((SELECT value FROM generation), ?, ?, ?, '{}')",
            (kind, adapter, now),
        )
    execute("COMMIT", ())


def _sqlite(url: str) -> Execute:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    for pragma, value in SERVING.items():
        connection.execute(f"PRAGMA {pragma} = {value}")
    return connection.execute


def _postgres(url: str) -> Execute:
    connection = psycopg.connect(url, autocommit=True)
    return lambda statement, values: connection.execute(statement.replace("?", "%s").encode(), values)
