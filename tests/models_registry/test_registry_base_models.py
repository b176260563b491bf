"""Base models at rest: registered, built, failed, listed, removed."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from registering import ARCHITECTURE, OTHER_WEIGHTS, SOURCE, build, content

from models_registry.errors import Conflict, Invalid, NotFound
from models_registry.records import HuggingFaceSource, Once, Source
from models_registry.registry import Registry

WEIGHTS = sha256(b"weights").hexdigest()


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


def test_a_failed_model_gives_its_place_to_another_source(registry: Registry) -> None:
    failed = registry.register_base_model("base", SOURCE, dtype="bfloat16")
    with pytest.raises(Conflict, match="'base' already"):  # it has not failed yet
        registry.register_base_model("base", HuggingFaceSource("other"), replacing=failed.created_at)
    registry.record_failure("base", "no memory")
    with pytest.raises(Conflict, match="'base' already"):
        registry.register_base_model("base", HuggingFaceSource("other"))

    replaced = registry.register_base_model("base", HuggingFaceSource("other"), replacing=failed.created_at)
    assert registry.list_base_models(10) == (replaced,)
    assert (replaced.source, replaced.dtype, replaced.failure) == (HuggingFaceSource("other"), None, None)
    with pytest.raises(Conflict, match="'base' already"):  # another has taken its place already
        registry.register_base_model("base", SOURCE, replacing=failed.created_at)


def test_a_failed_model_with_adapters_is_not_replaced_and_not_withdrawn(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    failed = registry.record_failure("base", "no memory")

    with pytest.raises(Conflict, match="has adapters: tone"):
        registry.register_base_model("base", HuggingFaceSource("other"), replacing=failed.created_at)
    assert not registry.withdraw_base_model(failed)
    assert registry.list_base_models(10) == (failed,)


def test_a_withdrawn_registration_leaves_its_id_and_its_key(registry: Registry) -> None:
    once = Once("key", "1" * 64)
    failed = registry.register_base_model("base", SOURCE, once=once)
    registry.record_failure("base", "no memory")

    assert registry.withdraw_base_model(failed, once)
    assert (registry.list_base_models(10), registry.find_registered(once)) == ((), None)
    again = registry.register_base_model("base", SOURCE, once=Once("key", "2" * 64))
    assert registry.withdraw_base_model(failed, once)  # it is gone, and what has its id now stays
    assert registry.list_base_models(10) == (again,)


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
