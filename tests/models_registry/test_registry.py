import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from registering import ARCHITECTURE, OTHER_WEIGHTS, SOURCE, at_once, build, content, kinds

from models_registry.errors import Conflict, Damaged, Invalid, NotFound, Stale, Unavailable
from models_registry.records import AdapterVersion, HuggingFaceSource, RegistrySnapshot, Source
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore
from models_registry.storage.database import Database, open_database

WEIGHTS = sha256(b"weights").hexdigest()

# ---- base models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [SOURCE, HuggingFaceSource("smollm2"), HuggingFaceSource("gguf", "x.gguf")])
def test_a_base_model_is_found_as_it_was_registered(registry: Registry, source: Source) -> None:
    wish: dict[str, Any] = {"dtype": "bfloat16", "device": "cpu", "task": "text-generation"}
    registered = registry.register_base_model("base", source, example_inputs={"input_ids": [[1, 2]]}, **wish)

    assert registry.find_base_model("base") == registered
    assert (registered.source, registered.example_inputs) == (source, {"input_ids": [[1, 2]]})
    assert registered.hosted
    assert (registered.fingerprint, registered.failure) == (None, None)
    assert registry.find_architecture("base") is None


def test_a_taken_id_is_a_conflict_and_keeps_the_first_model(registry: Registry) -> None:
    first = registry.register_base_model("base", SOURCE)

    with pytest.raises(Conflict, match="'base' already"):
        registry.register_base_model("base", HuggingFaceSource("other"))
    assert registry.list_base_models(10) == (first,)


def test_the_first_build_says_what_the_model_is(registry: Registry) -> None:
    registry.register_base_model("base", SOURCE)
    built = registry.record_built("base", ARCHITECTURE)

    assert (built.fingerprint, built.parameters, built.bytes) == ("f" * 64, 8, 16)
    assert registry.find_base_model("base") == built
    assert registry.find_architecture("base") == ARCHITECTURE


def test_other_weights_under_the_same_id_are_a_conflict_and_change_nothing(registry: Registry) -> None:
    build(registry)

    with pytest.raises(Conflict, match="other weights under the same model id 'base'"):
        registry.record_built("base", OTHER_WEIGHTS)
    assert registry.find_architecture("base") == ARCHITECTURE


def test_a_failure_is_kept_until_the_next_build_succeeds(registry: Registry) -> None:
    build(registry)
    assert registry.record_failure("base", "no memory").failure == "no memory"
    assert registry.find_base_model("base").fingerprint == ARCHITECTURE.fingerprint

    assert registry.record_built("base", ARCHITECTURE).failure is None


def test_a_build_that_ends_after_its_model_was_replaced_is_not_recorded(registry: Registry) -> None:
    before = registry.register_base_model("base", SOURCE)
    registry.remove_base_model("base")
    now = registry.register_base_model("base", SOURCE)
    for late in (
        lambda: registry.record_built("base", OTHER_WEIGHTS, before.created_at),
        lambda: registry.record_failure("base", "no memory", before.created_at),
    ):
        with pytest.raises(NotFound, match="another one has its id"):
            late()
    assert registry.find_base_model("base") == now
    assert registry.record_built("base", ARCHITECTURE, now.created_at).fingerprint == ARCHITECTURE.fingerprint


def test_what_its_owner_wants_is_kept(registry: Registry) -> None:
    registry.register_base_model("base", SOURCE)

    assert not registry.set_hosted("base", False).hosted
    assert not registry.find_base_model("base").hosted
    assert registry.set_hosted("base", True).hosted


def test_base_models_are_listed_by_id_a_page_at_a_time(registry: Registry) -> None:
    for id in ("c", "a", "d", "b"):
        registry.register_base_model(id, SOURCE)

    assert [model.id for model in registry.list_base_models(3)] == ["a", "b", "c"]
    assert [model.id for model in registry.list_base_models(3, after="c")] == ["d"]
    assert registry.list_base_models(3, after="d") == ()


def test_a_base_model_with_adapters_is_removed_only_with_them(registry: Registry) -> None:
    build(registry)
    build(registry, "other")
    for name in ("tone", "pirate"):
        registry.create_adapter("base", name, **content())
    kept = registry.create_adapter("other", "kept", **content())
    registry.move_alias("tone", "prod", 1)

    with pytest.raises(Conflict, match="has adapters: pirate, tone"):
        registry.remove_base_model("base")
    assert [adapter.name for adapter in registry.list_adapters(10)] == ["kept", "pirate", "tone"]

    registry.remove_base_model("base", cascade=True)
    assert [model.id for model in registry.list_base_models(10)] == ["other"]
    assert registry.list_adapters(10) == (registry.find_adapter("kept"),)
    assert registry.resolve("kept") == kept


@pytest.mark.parametrize(
    "call",
    [
        lambda registry: registry.find_base_model("nobody"),
        lambda registry: registry.find_architecture("nobody"),
        lambda registry: registry.record_built("nobody", ARCHITECTURE),
        lambda registry: registry.record_failure("nobody", "why"),
        lambda registry: registry.set_hosted("nobody", True),
        lambda registry: registry.remove_base_model("nobody"),
        lambda registry: registry.create_adapter("nobody", "tone", **content()),
        lambda registry: registry.add_version("nobody", **content()),
        lambda registry: registry.find_adapter("nobody"),
        lambda registry: registry.remove_adapter("nobody"),
        lambda registry: registry.resolve("nobody@1"),
    ],
)
def test_what_is_not_there_is_not_found_and_named(registry: Registry, call: Callable[[Registry], object]) -> None:
    with pytest.raises(NotFound, match="'nobody'"):
        call(registry)
    assert registry.generation() == 0


@pytest.mark.parametrize("name", ["", "a b", "tone@3", ".hidden", "-flag", "a/b", "é", "a" * 129, "a\n"])
def test_a_name_that_could_not_be_told_from_a_reference_or_a_path_is_invalid(registry: Registry, name: str) -> None:
    build(registry)

    with pytest.raises(Invalid) as model:
        registry.register_base_model(name, SOURCE)
    with pytest.raises(Invalid) as adapter:
        registry.create_adapter("base", name, **content())
    assert ([fault.loc for fault in model.value.faults], [fault.loc for fault in adapter.value.faults]) == (
        [("id",)],
        [("name",)],
    )


# ---- adapters -------------------------------------------------------------------------------------------------------


def test_an_adapter_is_found_as_it_was_created(registry: Registry) -> None:
    build(registry)
    version = registry.create_adapter("base", "tone", **content())

    assert version == AdapterVersion(
        adapter="tone",
        model="base",
        version=1,
        method="LORA",
        config=content()["config"],
        digest=sha256(b"weights").hexdigest(),
        parameters=24,
        bytes=7,
        targets=("0",),
        metadata={"by": "Ada", "n": [1]},
        fingerprint=ARCHITECTURE.fingerprint,
        created_at=version.created_at,
    )
    assert registry.find_adapter("tone").versions == (version,)
    assert list(registry.resolve("tone").config) == list(version.config)
    assert registry.read_weights(version) == b"weights"


def test_a_taken_name_is_a_conflict_on_any_model_and_stores_no_blob(registry: Registry, blobs: BlobStore) -> None:
    build(registry)
    build(registry, "other")
    first = registry.create_adapter("base", "tone", **content())

    for model in ("base", "other"):
        with pytest.raises(Conflict, match="'tone' already"):
            registry.create_adapter(model, "tone", **content(b"other weights"))
    assert registry.find_adapter("tone").versions == (first,)
    assert not blobs.exists(sha256(b"other weights").hexdigest())


def test_a_model_that_was_never_built_takes_no_adapter(registry: Registry, blobs: BlobStore) -> None:
    registry.register_base_model("base", SOURCE)

    with pytest.raises(Conflict, match="never built"):
        registry.create_adapter("base", "tone", **content())
    assert not blobs.exists(sha256(b"weights").hexdigest())


def test_versions_count_up_and_each_keeps_its_own(registry: Registry) -> None:
    build(registry)
    first = registry.create_adapter("base", "tone", **content(b"one"))
    second = registry.add_version("tone", **content(b"two", config={"peft_type": "LORA", "r": 8}, metadata={}))

    assert (first.version, second.version, second.reference) == (1, 2, "tone@2")
    assert registry.find_adapter("tone").versions == (first, second)
    assert registry.find_adapter("tone").newest == second
    assert [registry.read_weights(version) for version in (first, second)] == [b"one", b"two"]


def test_a_version_that_builds_on_an_older_one_is_stale_and_changes_nothing(registry: Registry) -> None:
    build(registry)
    first = registry.create_adapter("base", "tone", **content(b"one"))
    second = registry.add_version("tone", if_match={first.digest}, **content(b"two"))

    with pytest.raises(Stale, match="tone@2"):
        registry.add_version("tone", if_match={first.digest}, **content(b"three"))
    assert registry.find_adapter("tone").newest == second


def test_the_number_of_a_removed_version_is_never_given_again(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content(b"one"))
    registry.add_version("tone", **content(b"two"))
    registry.remove_version("tone", 2)

    assert registry.add_version("tone", **content(b"three")).version == 3


def test_a_reference_is_a_name_a_number_or_an_alias(registry: Registry) -> None:
    build(registry)
    first = registry.create_adapter("base", "tone", **content(b"one"))
    second = registry.add_version("tone", **content(b"two"))
    registry.move_alias("tone", "prod", 1)

    assert registry.resolve("tone") == second
    assert registry.resolve("tone@1") == first
    assert registry.resolve("tone@prod") == first
    assert registry.find_adapter("tone").aliases == {"prod": 1}


@pytest.mark.parametrize(
    ("reference", "part"),
    [
        ("tune@1", "no adapter 'tune'"),
        ("tone@2", "no version '2'"),
        ("tone@01", "no version '01'"),
        ("tone@prod", "no alias 'prod'"),
        ("tone@", "no alias ''"),
        ("tone@1@1", "no alias '1@1'"),
    ],
)
def test_a_reference_to_nothing_says_which_part_is_missing(registry: Registry, reference: str, part: str) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())

    with pytest.raises(NotFound, match=part):
        registry.resolve(reference)


def test_adapters_are_listed_by_name_a_page_at_a_time_and_by_model(registry: Registry) -> None:
    build(registry)
    build(registry, "other")
    for name, model in (("c", "base"), ("a", "other"), ("b", "base")):
        registry.create_adapter(model, name, **content())
        registry.add_version(name, **content(b"two"))

    assert [adapter.name for adapter in registry.list_adapters(2)] == ["a", "b"]
    assert [adapter.name for adapter in registry.list_adapters(2, after="b")] == ["c"]
    assert registry.list_adapters(2, model="base") == (registry.find_adapter("b"), registry.find_adapter("c"))
    assert registry.list_adapters(2, after="b", model="other") == ()


def test_a_removed_adapter_is_gone_and_its_name_is_free(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    registry.remove_adapter("tone")

    assert registry.list_adapters(10) == ()
    assert registry.create_adapter("base", "tone", **content(b"other")).version == 1


def test_an_adapter_with_an_alias_is_not_removed(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    registry.move_alias("tone", "prod", 1)

    with pytest.raises(Conflict, match="has aliases: prod"):
        registry.remove_adapter("tone")
    assert registry.resolve("tone@prod").version == 1


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(b"weightz"), lambda file: file.unlink()])
def test_weights_that_are_not_what_was_stored_are_damaged(
    registry: Registry, blob_directory: Path, damage: Callable[[Path], object]
) -> None:
    build(registry)
    version = registry.create_adapter("base", "tone", **content())
    damage(blob_directory / version.digest)

    with pytest.raises(Damaged, match=version.digest):
        registry.read_weights(version)


def test_a_version_is_sound_once_its_bytes_are_though_it_was_found_before_they_were_damaged(
    registry: Registry, blob_directory: Path
) -> None:
    build(registry)
    version = registry.create_adapter("base", "tone", **content())
    blob = blob_directory / version.digest
    weights = blob.read_bytes()
    blob.write_bytes(b"weightz")
    with pytest.raises(Damaged):
        registry.read_weights(version)
    assert registry.resolve("tone").damaged

    blob.write_bytes(weights)
    registry.read_weights(version)

    assert not registry.resolve("tone").damaged


# ---- all of it ------------------------------------------------------------------------------------------------------


def test_every_change_raises_the_generation_and_leaves_its_event(registry: Registry) -> None:
    build(registry)
    registry.record_built("base", ARCHITECTURE)  # nothing new: no event
    registry.record_failure("base", "no memory")
    registry.record_built("base", ARCHITECTURE)
    registry.set_hosted("base", False)
    registry.set_hosted("base", True)
    registry.create_adapter("base", "tone", **content())
    registry.add_version("tone", **content())
    registry.move_alias("tone", "prod", 1)
    registry.move_alias("tone", "prod", 1)  # it points there: no event
    registry.move_alias("tone", "prod", 2)
    registry.remove_version("tone", 1)
    registry.mark_damaged(WEIGHTS)
    registry.mark_sound(WEIGHTS)
    registry.remove_alias("tone", "prod")
    registry.remove_adapter("tone")
    registry.create_adapter("base", "pirate", **content())
    registry.remove_base_model("base", cascade=True)

    assert registry.generation() == 19
    assert kinds(registry) == [
        ("model.registered", "base"),
        ("model.built", "base"),
        ("model.failed", "base"),
        ("model.built", "base"),
        ("model.unhosted", "base"),
        ("model.hosted", "base"),
        ("adapter.created", "tone"),
        ("version.added", "tone@1"),
        ("version.added", "tone@2"),
        ("alias.moved", "tone@prod"),
        ("alias.moved", "tone@prod"),
        ("version.removed", "tone@1"),
        ("blob.damaged", f"sha256:{WEIGHTS}"),
        ("blob.sound", f"sha256:{WEIGHTS}"),
        ("alias.removed", "tone@prod"),
        ("adapter.removed", "tone"),
        ("adapter.created", "pirate"),
        ("version.added", "pirate@1"),
        ("adapter.removed", "pirate"),
        ("model.removed", "base"),
    ]


def test_what_fails_leaves_no_event_and_no_generation(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    before = registry.snapshot(), kinds(registry)

    for attempt in (
        lambda: registry.register_base_model("base", SOURCE),
        lambda: registry.record_built("base", OTHER_WEIGHTS),
        lambda: registry.remove_base_model("base"),
        lambda: registry.create_adapter("base", "tone", **content()),
        lambda: registry.add_version("tone", if_match={"0" * 64}, **content()),
    ):
        with pytest.raises(Conflict):
            attempt()
    assert (registry.snapshot(), kinds(registry)) == before


def test_a_snapshot_holds_every_adapter_at_one_generation(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    registry.create_adapter("base", "pirate", **content())
    registry.add_version("tone", **content(b"two"))
    registry.move_alias("tone", "prod", 1)
    snapshot = registry.snapshot()

    assert snapshot.generation == registry.generation() == 6
    assert snapshot.adapters == {name: registry.find_adapter(name) for name in ("tone", "pirate")}


def test_a_later_snapshot_reads_what_was_changed_and_keeps_the_rest(registry: Registry) -> None:
    build(registry)
    build(registry, "other")
    for name, model in (
        ("kept", "base"),
        ("grown", "base"),
        ("removed", "base"),
        ("recreated", "base"),
        ("x", "other"),
    ):
        registry.create_adapter(model, name, **content())
    early = registry.snapshot()
    assert registry.snapshot(early) is early

    registry.add_version("grown", **content(b"two"))
    registry.remove_adapter("removed")
    registry.remove_adapter("recreated")
    registry.create_adapter("base", "recreated", **content(b"other"))
    registry.remove_base_model("other", cascade=True)
    registry.create_adapter("base", "other", **content())  # an adapter may be called as a model was

    late = registry.snapshot(early)
    assert late == registry.snapshot()
    assert late.adapters.keys() == {"kept", "grown", "recreated", "other"}
    assert late.adapters["kept"] is early.adapters["kept"]


def test_a_snapshot_of_a_database_that_was_put_back_is_read_anew(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    ahead = RegistrySnapshot(generation=99, adapters={})

    assert registry.snapshot(ahead) == registry.snapshot()


def test_a_snapshot_catches_up_with_any_number_of_changes(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    build(registry)
    early = registry.snapshot()
    for name in ("a", "b", "c"):
        registry.create_adapter("base", name, **content())

    monkeypatch.setattr("models_registry.storage.snapshots.MANY", 2)
    assert registry.snapshot(early) == registry.snapshot()


def test_a_blob_store_that_is_away_is_told_from_a_registry_that_answers(
    registry: Registry, blob_directory: Path
) -> None:
    registry.ping_blobs()
    blob_directory.rmdir()

    with pytest.raises(Unavailable, match=str(blob_directory)):
        registry.ping_blobs()
    assert registry.generation() == 0


def test_a_registry_opened_again_says_the_same(
    registry: Registry, database: Database, database_url: str, blobs: BlobStore
) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    before = registry.list_base_models(10), registry.find_architecture("base"), registry.snapshot()
    database.close()

    reopened = open_database(database_url)
    again = Registry(reopened, blobs)
    assert (again.list_base_models(10), again.find_architecture("base"), again.snapshot()) == before
    reopened.close()


# ---- many at once, and none any more --------------------------------------------------------------------------------


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
