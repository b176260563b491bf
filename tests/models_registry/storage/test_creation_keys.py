"""Creations under their callers' own keys: done once, and remembered with what was told."""

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from registering import SOURCE, at_once, build, content
from sqlalchemy import func, select, update

from models_registry.errors import Conflict
from models_registry.records import AdapterVersion, Once
from models_registry.registry import Registry
from models_registry.storage.creation_keys import KEPT, SWEPT
from models_registry.storage.database import Database
from models_registry.storage.tables import CreationKeyRow

ONCE = Once("key", "1" * 64)
ANOTHER = Once("key", "2" * 64)


def age(database: Database, by: timedelta) -> None:
    """Let every key be older."""
    with database.write() as session:
        session.execute(update(CreationKeyRow).values(created_at=datetime.now(UTC) - by))


def count_keys(database: Database) -> int:
    with database.read() as session:
        return session.scalars(select(func.count()).select_from(CreationKeyRow)).one()


def test_what_was_created_under_a_key_is_found_as_it_was_told(registry: Registry) -> None:
    build(registry)
    assert registry.find_created(ONCE) is None
    version = registry.create_adapter("base", "tone", once=ONCE, warnings=["careful"], **content())

    assert registry.find_created(ONCE) == (version, ("careful",))
    registry.remove_adapter("tone")
    assert registry.find_created(ONCE) == (version, ("careful",))


def test_a_version_is_added_once_under_a_key(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    version = registry.add_version("tone", once=ONCE, **content())

    with pytest.raises(Conflict):
        registry.add_version("tone", once=ONCE, **content())
    assert registry.find_created(ONCE) == (version, ())
    assert registry.find_adapter("tone").newest == version


def test_a_model_is_registered_once_under_a_key_and_found_as_it_is_now(registry: Registry) -> None:
    assert registry.find_registered(ONCE) is None
    registry.register_base_model("base", SOURCE, once=ONCE)
    registry.record_failure("base", "no memory")

    assert registry.find_registered(ONCE) == registry.find_base_model("base")


def test_a_model_that_was_removed_since_is_not_taken_for_one_of_the_same_id(registry: Registry) -> None:
    registry.register_base_model("base", SOURCE, once=ONCE)
    registry.remove_base_model("base")
    with pytest.raises(Conflict, match="was removed"):
        registry.find_registered(ONCE)

    registry.register_base_model("base", SOURCE)
    with pytest.raises(Conflict, match="was removed"):
        registry.find_registered(ONCE)


def test_a_key_that_was_used_for_something_else_is_a_conflict(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", once=ONCE, **content())

    with pytest.raises(Conflict, match="'key' was used for another request"):
        registry.find_created(ANOTHER)
    with pytest.raises(Conflict, match="'key' was used for another request"):
        registry.find_registered(ANOTHER)
    with pytest.raises(Conflict):
        registry.create_adapter("base", "other", once=ANOTHER, **content())
    assert [adapter.name for adapter in registry.list_adapters(10)] == ["tone"]


def test_a_creation_that_fails_uses_no_key_up(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    with pytest.raises(Conflict):
        registry.create_adapter("base", "tone", once=ONCE, **content())

    assert registry.find_created(ONCE) is None
    assert registry.create_adapter("base", "other", once=ONCE, **content()).version == 1


def test_of_many_under_one_key_one_creates(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    answers = at_once(8, lambda _: registry.add_version("tone", once=ONCE, **content()))

    assert Counter(type(answer) for answer in answers) == {AdapterVersion: 1, Conflict: 7}
    assert len(registry.find_adapter("tone").versions) == 2


def test_a_key_is_forgotten_after_a_day(registry: Registry, database: Database) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    registry.add_version("tone", once=ONCE, **content())
    age(database, KEPT - timedelta(minutes=1))
    assert registry.find_created(ONCE)

    age(database, KEPT + timedelta(minutes=1))
    assert registry.find_created(ONCE) is None
    assert registry.add_version("tone", once=ANOTHER, **content()).version == 3
    assert registry.find_created(ANOTHER)


def test_who_writes_a_key_clears_expired_ones_out_a_bounded_number_at_a_time(
    registry: Registry, database: Database
) -> None:
    with database.write() as session:
        expired = datetime.now(UTC) - 2 * KEPT
        for number in range(SWEPT + 50):
            session.add(CreationKeyRow(key=f"old-{number}", fingerprint="0" * 64, answer={}, created_at=expired))
    build(registry)
    registry.create_adapter("base", "tone", once=ONCE, **content())
    assert count_keys(database) == 51
    registry.add_version("tone", once=Once("other", "3" * 64), **content())
    assert count_keys(database) == 2


DYING = """
import os, signal, sys
from models_registry.records import Once
from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import Database, open_database

_, when, url, blobs = sys.argv
database = open_database(url)

class DyingDatabase(Database):
    '''Dies when everything is written and nothing is committed.'''
    def __init__(self): super().__init__(database._reads, database._writes)
    from contextlib import contextmanager
    @contextmanager
    def write(self):
        with super().write() as session:
            yield session
            session.flush()
            os.kill(os.getpid(), signal.SIGKILL)

registry = Registry(DyingDatabase() if when == "before" else database, open_blob_store(blobs))
content = dict(method="LORA", config={}, weights=b"weights", parameters=1, targets=[], metadata={})
registry.add_version("tone", once=Once("key", "1" * 64), **content)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("when", "done"), [("before", False), ("after", True)])
def test_who_asks_again_after_a_kill_gets_the_answer_or_creates_once(
    registry: Registry, database_url: str, blob_directory: Path, when: str, done: bool
) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    command = [sys.executable, "-c", DYING, when, database_url, f"file:{blob_directory}"]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    assert subprocess.run(command, cwd=root, env=environment, check=False).returncode == -signal.SIGKILL

    told = registry.find_created(ONCE)
    assert (told is not None) is done
    version = told[0] if told else registry.add_version("tone", once=ONCE, **content())
    assert (version.version, len(registry.find_adapter("tone").versions)) == (2, 2)
    assert registry.find_created(ONCE) == (version, ())
