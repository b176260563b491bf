"""A backup is one point in time, whole or refused, and comes back on either kind of database and store."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import obstore
import pytest
from databases import DIALECTS, Postgres, sqlite_url
from obstore.store import ObjectStore
from versions import add_adapter

from models_registry.access import Access
from models_registry.errors import Conflict, Invalid
from models_registry.records import Key, Rollout
from models_registry.registry import Registry, VersionContent
from models_registry.registry_backup import BLOBS, MANIFEST, ROWS, back_up, read_manifest, restore
from models_registry.storage.blobs import BlobStore, open_blob_store
from models_registry.storage.database import Database, open_database
from models_registry.storage.row_dump import dump_rows
from models_registry.teams import TeamLimits

KEY = Key("k1", "0" * 64, "ours", "fraud", "publisher", datetime(2026, 11, 28, 7, tzinfo=UTC), adapters=("tone",))


@pytest.fixture
def blobs(blob_url: str) -> BlobStore:
    return open_blob_store(blob_url)


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def filled(registry: Registry, database: Database) -> Registry:
    access = Access(database)
    access.add_team("fraud", TeamLimits(adapters=3, resident_share=0.25))
    access.add_key(KEY)
    add_adapter(registry, "tone", b"one")
    add_adapter(registry, "fraud:twin", b"one")
    content = VersionContent(
        method="LORA", config={"r": 2}, weights=b"two", parameters=0, targets=[], metadata={"n": 1}
    )
    registry.add_version("tone", **content)
    registry.move_alias("tone", "prod", Rollout({1: 0.9, 2: 0.1}))
    return registry


@pytest.fixture(params=DIALECTS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of either kind, whichever kind the backup is of."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "restored" / "registry.db")
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


def test_what_comes_back_is_what_was_there(
    filled: Registry, database: Database, blobs: BlobStore, backup: Path, empty_url: str, tmp_path: Path
) -> None:
    made = back_up(database, blobs, backup, "0.1.0")
    other = open_blob_store(f"file:{tmp_path}/restored-blobs")

    assert restore(empty_url, other, backup) == made == read_manifest(backup)

    with closing(open_database(empty_url)) as restored:
        registry, access = Registry(restored, other), Access(restored)
        before, after = filled.snapshot(), registry.snapshot()
        assert (after.generation, after.adapters) == (before.generation, before.adapters)
        assert registry.list_events(100) == filled.list_events(100)
        assert registry.list_base_models(9) == filled.list_base_models(9)
        assert registry.read_weights(registry.resolve("tone@2")) == b"two"
        assert access.list_keys() == (KEY,)
        assert access.list_teams(9) == Access(database).list_teams(9)
        # Numbers go on where they were.
        registry.move_alias("tone", "prod", 2)
        newest = registry.list_events(100)[-1]
        assert newest.id == filled.list_events(100)[-1].id + 1


def test_a_backup_comes_back_into_a_store_of_either_kind(
    filled: Registry, database: Database, blobs: BlobStore, backup: Path, tmp_path: Path, blob_url: str
) -> None:
    back_up(database, blobs, backup, "0.1.0")
    other = open_blob_store(f"{blob_url}-restored")

    restore(sqlite_url(tmp_path / "new.db"), other, backup)

    assert {blob.digest for blob in other.list_blobs()} == {_digest(b"one"), _digest(b"two")}


def test_rows_are_those_of_the_moment_in_which_the_backup_began(filled: Registry, database: Database) -> None:
    with database.read() as session:
        rows = dump_rows(session)
        first = next(rows)
        add_adapter(filled, "late", b"late")
        found = [first, *rows]

    assert "late" in filled.snapshot().adapters
    assert {row["name"] for table, row in found if table == "adapters"} == {"tone", "fraud:twin"}


def test_a_backup_without_each_blob_is_refused_with_all_of_them(
    filled: Registry, database: Database, blobs: BlobStore, raw: ObjectStore, backup: Path, tmp_path: Path
) -> None:
    obstore.delete(raw, _digest(b"one"))
    obstore.put(raw, _digest(b"two"), b"tw")

    with pytest.raises(Invalid) as refused:
        back_up(database, blobs, backup, "0.1.0")

    assert {fault.loc[0]: fault.message.split()[0] for fault in refused.value.faults} == {
        f"sha256:{_digest(b'one')}": "is",
        f"sha256:{_digest(b'two')}": "its",
    }
    with pytest.raises(Invalid, match="half of one"):
        restore(sqlite_url(tmp_path / "new.db"), blobs, backup)


def test_a_backup_that_was_changed_restores_nothing(
    filled: Registry, database: Database, blobs: BlobStore, backup: Path, tmp_path: Path
) -> None:
    back_up(database, blobs, backup, "0.1.0")
    url = sqlite_url(tmp_path / "new.db")
    (backup / BLOBS / _digest(b"two")).write_bytes(b"twO")
    with pytest.raises(Invalid, match=_digest(b"two")):
        restore(url, blobs, backup)
    (backup / BLOBS / _digest(b"two")).write_bytes(b"two")
    rows = (backup / ROWS).read_bytes()
    (backup / ROWS).write_bytes(rows.replace(b"fraud:twin", b"fraud:twen"))
    with pytest.raises(Invalid, match="not the file that was written"):
        restore(url, blobs, backup)
    (backup / ROWS).write_bytes(rows)

    restore(url, blobs, backup)  # the database was left empty


def test_neither_a_directory_nor_a_database_in_use_is_written_over(
    filled: Registry, database: Database, database_url: str, blobs: BlobStore, backup: Path
) -> None:
    back_up(database, blobs, backup, "0.1.0")
    with pytest.raises(Conflict, match="isn't empty"):
        back_up(database, blobs, backup, "0.1.0")
    with pytest.raises(Conflict, match="isn't empty"):
        restore(database_url, blobs, backup)


def test_a_backup_of_an_older_schema_is_brought_to_this_one(
    filled: Registry, database: Database, blobs: BlobStore, backup: Path, empty_url: str
) -> None:
    back_up(database, blobs, backup, "0.1.0")
    lines = [json.loads(line) for line in (backup / ROWS).read_text().splitlines()]
    for table, row in lines:
        if table == "base_models":
            del row["teams"], row["resources"]  # came with 0014 and 0015
    _write(backup, lines, schema="0013")

    restore(empty_url, blobs, backup)

    with closing(open_database(empty_url)) as restored:
        assert Registry(restored, blobs).snapshot().adapters == filled.snapshot().adapters


def test_a_backup_of_a_newer_version_is_refused(
    filled: Registry, database: Database, blobs: BlobStore, backup: Path, tmp_path: Path
) -> None:
    back_up(database, blobs, backup, "0.1.0")
    _write(backup, [], schema="9999")
    with pytest.raises(Conflict, match="schema 9999"):
        restore(sqlite_url(tmp_path / "new.db"), blobs, backup)


def _write(backup: Path, lines: list[object], schema: str) -> None:
    """As the service of another version would have."""
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (backup / ROWS).write_text(text)
    manifest = json.loads((backup / MANIFEST).read_bytes())
    (backup / MANIFEST).write_text(json.dumps(manifest | {"schema": schema, "registry": _digest(text.encode())}))


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
