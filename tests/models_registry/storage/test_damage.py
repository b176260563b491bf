"""Blobs that turn out to be damaged: never served, marked for those who look, and mended."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from registering import build, content, kinds

from models_registry.errors import Damaged, NotFound, Unavailable
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore
from models_registry.storage.database import SERVING, Database, open_engine

WEIGHTS = sha256(b"weights").hexdigest()
DAMAGES = [
    pytest.param(lambda file: file.write_bytes(b"weightz"), id="altered"),
    pytest.param(lambda file: file.write_bytes(b"wei"), id="torn"),
    pytest.param(lambda file: file.unlink(), id="missing"),
]


@pytest.fixture
def tone(registry: Registry) -> Registry:
    """With two adapters of the same bytes, and one of others."""
    build(registry)
    for name, weights in (("tone", b"weights"), ("twin", b"weights"), ("sound", b"others")):
        registry.create_adapter("base", name, **content(weights))
    return registry


def damaged(registry: Registry) -> set[str]:
    return {
        version.reference for adapter in registry.list_adapters(10) for version in adapter.versions if version.damaged
    }


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_that_reading_finds_is_marked_at_every_version_of_those_bytes(
    tone: Registry, blob_directory: Path, damage: Callable[[Path], object]
) -> None:
    before = tone.snapshot()
    damage(blob_directory / WEIGHTS)
    for _ in range(2):
        with pytest.raises(Damaged, match=WEIGHTS):
            tone.read_weights(tone.resolve("tone"))

    assert damaged(tone) == {"tone@1", "twin@1"}
    assert [event for event in kinds(tone) if event[0].startswith("blob")] == [("blob.damaged", f"sha256:{WEIGHTS}")]
    assert tone.snapshot(before) == tone.snapshot()
    assert tone.snapshot(before).adapters["twin"].newest.damaged
    assert tone.read_weights(tone.resolve("sound")) == b"others"


def test_bytes_that_are_right_again_are_read_and_the_mark_goes(tone: Registry, blob_directory: Path) -> None:
    (blob_directory / WEIGHTS).rename(blob_directory / "away")
    with pytest.raises(Damaged):
        tone.read_weights(tone.resolve("tone"))
    (blob_directory / "away").rename(blob_directory / WEIGHTS)

    assert tone.read_weights(tone.resolve("twin")) == b"weights"
    assert damaged(tone) == set()
    assert kinds(tone)[-1] == ("blob.sound", f"sha256:{WEIGHTS}")


def test_the_same_bytes_put_again_mend_it(tone: Registry, blob_directory: Path) -> None:
    (blob_directory / WEIGHTS).write_bytes(b"weightz")
    with pytest.raises(Damaged):
        tone.read_weights(tone.resolve("tone"))

    tone.add_version("sound", **content(b"weights"))
    assert damaged(tone) == set()
    assert tone.read_weights(tone.resolve("tone")) == b"weights"


def test_a_check_from_outside_marks_and_clears(tone: Registry) -> None:
    tone.mark_damaged(WEIGHTS)
    generation = tone.generation()
    tone.mark_damaged(WEIGHTS)
    assert (damaged(tone), tone.generation()) == ({"tone@1", "twin@1"}, generation)

    tone.mark_sound(WEIGHTS)
    generation = tone.generation()
    tone.mark_sound(WEIGHTS)
    assert (damaged(tone), tone.generation()) == (set(), generation)


def test_what_no_version_names_is_not_marked_and_a_mark_goes_with_the_last_one(tone: Registry) -> None:
    tone.mark_damaged("0" * 64)
    assert [event for event in kinds(tone) if event[0].startswith("blob")] == []

    tone.mark_damaged(WEIGHTS)
    tone.remove_adapter("tone")
    assert damaged(tone) == {"twin@1"}
    tone.remove_adapter("twin")
    tone.create_adapter("base", "later", **content())
    assert damaged(tone) == set()
    assert kinds(tone)[-1] == ("version.added", "later@1")


def test_damage_is_said_even_where_it_can_not_be_marked(
    tone: Registry, blobs: BlobStore, blob_directory: Path, tmp_path: Path
) -> None:
    version = tone.resolve("tone")
    engine = open_engine(f"postgresql://nobody@/nothing?host={tmp_path}", SERVING)
    away = Registry(Database(engine, engine), blobs)
    with pytest.raises(Unavailable):
        away.generation()

    assert away.read_weights(replace(version, damaged=True)) == b"weights"
    (blob_directory / WEIGHTS).unlink()
    with pytest.raises(Damaged, match=WEIGHTS):
        away.read_weights(version)


def test_bytes_that_went_after_their_version_did_are_no_damage(tone: Registry, blob_directory: Path) -> None:
    version = tone.resolve("sound")
    tone.remove_adapter("sound")
    assert tone.read_weights(version) == b"others"
    (blob_directory / version.digest).unlink()
    with pytest.raises(NotFound, match="sound@1 was removed"):
        tone.read_weights(version)
    with pytest.raises(NotFound, match="sound@1 was removed"):
        tone.open_weights(version)


def test_every_blob_that_a_version_names_is_referenced(tone: Registry) -> None:
    others, newer = (sha256(weights).hexdigest() for weights in (b"others", b"newer"))
    assert tone.referenced_digests() == {WEIGHTS, others}
    tone.remove_adapter("sound")
    tone.add_version("tone", **content(b"newer"))
    assert tone.referenced_digests() == {WEIGHTS, newer}
    assert [tone.is_referenced(digest) for digest in (WEIGHTS, newer, others)] == [True, True, False]
