"""Many who write at once, and those who are killed while they do."""

import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from registering import at_once, build, content, kinds

from models_registry.errors import Conflict
from models_registry.records import AdapterVersion
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore


def test_of_many_that_create_one_name_exactly_one_wins(registry: Registry) -> None:
    build(registry)
    answers = at_once(8, lambda number: registry.create_adapter("base", "tone", **content(b"weights %d" % number)))

    (winner,) = [answer for answer in answers if isinstance(answer, AdapterVersion)]
    assert [type(answer) for answer in answers if answer is not winner] == [Conflict] * 7
    assert registry.find_adapter("tone").versions == (winner,)
    assert registry.read_weights(winner) == b"weights %d" % answers.index(winner)


def test_of_many_versions_at_once_each_gets_its_own_number(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    answers = at_once(8, lambda number: registry.add_version("tone", **content(b"weights %d" % number)))

    assert {answer.version for answer in answers if isinstance(answer, AdapterVersion)} == set(range(2, 10))
    assert len(registry.find_adapter("tone").versions) == 9


def test_of_many_that_build_on_one_version_exactly_one_is_not_stale(registry: Registry) -> None:
    build(registry)
    seen = registry.create_adapter("base", "tone", **content()).digest
    answers = at_once(8, lambda n: registry.add_version("tone", if_match={seen}, **content(b"weights %d" % n)))

    assert sorted(type(answer).__name__ for answer in answers) == ["AdapterVersion"] + ["Stale"] * 7


DYING = """
import os, signal, sys
from models_registry.registry import Registry
from models_registry.storage.directory import DirectoryBlobStore
from models_registry.storage.database import open_database
from pathlib import Path

class DyingBlobStore(DirectoryBlobStore):
    def put(self, data):
        super().put(data)
        os.kill(os.getpid(), signal.SIGKILL)

_, when, url, directory = sys.argv
store = DyingBlobStore if when == "before the row" else DirectoryBlobStore
registry = Registry(open_database(url), store(Path(directory)))
content = dict(method="LORA", config={}, weights=b"weights", parameters=1, targets=[], metadata={})
registry.create_adapter("base", "tone", **content)
os.kill(os.getpid(), signal.SIGKILL)
"""


def die(when: str, database_url: str, blob_directory: Path) -> None:
    command = [sys.executable, "-c", DYING, when, database_url, str(blob_directory)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -signal.SIGKILL


def test_a_kill_between_the_blob_and_the_row_leaves_nothing_half_done(
    registry: Registry, database_url: str, blobs: BlobStore, blob_directory: Path
) -> None:
    build(registry)
    before = registry.snapshot(), kinds(registry)
    die("before the row", database_url, blob_directory)

    assert (registry.snapshot(), kinds(registry)) == before
    assert blobs.get(sha256(b"weights").hexdigest()) == b"weights"  # nobody's, and harmless
    assert registry.create_adapter("base", "tone", **content()).version == 1


def test_a_kill_after_the_answer_loses_nothing(registry: Registry, database_url: str, blob_directory: Path) -> None:
    build(registry)
    die("after the answer", database_url, blob_directory)

    assert registry.read_weights(registry.resolve("tone@1")) == b"weights"
