"""Aliases and the removal of versions and adapters, as the registry does them."""

from threading import Event, Thread

import pytest
from registering import build, content, kinds

from models_registry.errors import Conflict, Invalid, NotFound
from models_registry.registry import Registry


@pytest.fixture
def tone(registry: Registry) -> Registry:
    """With an adapter of three versions."""
    build(registry)
    registry.create_adapter("base", "tone", **content(b"1"))
    registry.add_version("tone", **content(b"2"))
    registry.add_version("tone", **content(b"3"))
    return registry


# ---- aliases ------------------------------------------------------------------------------------------------------


def test_an_alias_moves_forward_and_back(tone: Registry) -> None:
    for number in (1, 3, 2):
        moved = tone.move_alias("tone", "prod", number)
        assert moved == tone.resolve("tone@prod") == tone.resolve(f"tone@{number}")
    assert tone.find_adapter("tone").aliases == {"prod": 2}


def test_moving_an_alias_is_logged_with_where_it_came_from(tone: Registry) -> None:
    before = tone.list_events(100)[-1].id
    tone.move_alias("tone", "prod", 1)
    tone.move_alias("tone", "prod", 1)  # where it is already: nothing happened
    tone.move_alias("tone", "prod", 3)
    tone.remove_alias("tone", "prod")

    said = [(event.kind, event.subject, event.detail) for event in tone.list_events(100, before)]
    assert said == [
        ("alias.moved", "tone@prod", {"from": None, "to": 1}),
        ("alias.moved", "tone@prod", {"from": 1, "to": 3}),
        ("alias.removed", "tone@prod", {"from": 3}),
    ]


def test_an_alias_that_is_removed_names_nothing_and_its_version_stays(tone: Registry) -> None:
    tone.move_alias("tone", "prod", 1)
    tone.remove_alias("tone", "prod")

    with pytest.raises(NotFound, match="no alias 'prod'"):
        tone.resolve("tone@prod")
    with pytest.raises(NotFound, match="no alias 'prod'"):
        tone.remove_alias("tone", "prod")
    assert tone.resolve("tone@1").version == 1


@pytest.mark.parametrize(
    ("name", "number", "missing"), [("tone", 4, "no version '4'"), ("tune", 1, "no adapter 'tune'")]
)
def test_an_alias_to_nothing_is_not_found_and_stays_where_it_was(
    tone: Registry, name: str, number: int, missing: str
) -> None:
    tone.move_alias("tone", "prod", 1)
    with pytest.raises(NotFound, match=missing):
        tone.move_alias(name, "prod", number)
    assert tone.find_adapter("tone").aliases == {"prod": 1}


def test_an_alias_of_no_adapter_is_not_found(registry: Registry) -> None:
    with pytest.raises(NotFound, match="no adapter 'tune'"):
        registry.remove_alias("tune", "prod")


def test_an_alias_that_could_not_be_told_from_a_number_or_a_reference_is_invalid(tone: Registry) -> None:
    for alias in ("2", "007", "", "a b", "a@b", "@", ".prod", "é", "p" * 129, "prod\n"):
        with pytest.raises(Invalid) as caught:
            tone.move_alias("tone", alias, 1)
        assert [fault.loc for fault in caught.value.faults] == [("alias",)]
    assert tone.find_adapter("tone").aliases == {}


def test_whoever_reads_while_an_alias_moves_finds_one_of_the_two_versions(tone: Registry) -> None:
    tone.move_alias("tone", "prod", 1)
    done = Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen.append(tone.resolve("tone@prod").version)

    readers = [Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in [3, 1] * 20:
        tone.move_alias("tone", "prod", number)
    done.set()
    for reader in readers:
        reader.join()
    assert set(seen) <= {1, 3}


# ---- removing -----------------------------------------------------------------------------------------------------


def test_a_removed_version_is_gone_and_the_others_stay(tone: Registry) -> None:
    tone.remove_version("tone", 2)

    assert [version.version for version in tone.find_adapter("tone").versions] == [1, 3]
    with pytest.raises(NotFound, match="no version '2'"):
        tone.resolve("tone@2")
    with pytest.raises(NotFound, match="no version '2'"):
        tone.remove_version("tone", 2)
    assert kinds(tone)[-1] == ("version.removed", "tone@2")


def test_without_its_newest_version_an_adapter_is_what_it_was_before(tone: Registry) -> None:
    tone.remove_version("tone", 3)

    assert tone.resolve("tone").version == 2
    assert tone.add_version("tone", if_match={tone.resolve("tone@2").digest}, **content(b"4")).version == 4


def test_the_number_of_a_removed_version_is_never_given_again_even_by_the_same_bytes(tone: Registry) -> None:
    tone.remove_version("tone", 3)
    assert tone.add_version("tone", **content(b"3")).version == 4


def test_a_version_with_aliases_is_removed_only_with_them(tone: Registry) -> None:
    for alias, number in (("prod", 2), ("next", 2), ("old", 1)):
        tone.move_alias("tone", alias, number)

    with pytest.raises(Conflict, match=r"tone@2 has aliases: next, prod\."):
        tone.remove_version("tone", 2)
    assert len(tone.find_adapter("tone").versions) == 3

    tone.remove_version("tone", 2, with_aliases=True)
    assert tone.find_adapter("tone").aliases == {"old": 1}
    assert kinds(tone)[-3:] == [
        ("alias.removed", "tone@next"),
        ("alias.removed", "tone@prod"),
        ("version.removed", "tone@2"),
    ]


def test_the_only_version_is_not_removed_for_its_adapter_would_be_a_name_for_nothing(tone: Registry) -> None:
    tone.remove_version("tone", 1)
    tone.remove_version("tone", 3)

    with pytest.raises(Conflict, match="remove the adapter itself"):
        tone.remove_version("tone", 2, with_aliases=True)
    assert tone.resolve("tone").version == 2


def test_an_adapter_goes_with_its_aliases_where_that_is_asked_for(tone: Registry) -> None:
    tone.move_alias("tone", "prod", 2)
    digests = {str(version.version): f"sha256:{version.digest}" for version in tone.find_adapter("tone").versions}
    tone.remove_adapter("tone", with_aliases=True)

    assert tone.list_adapters(10) == ()
    event = tone.list_events(100)[-1]
    assert (event.kind, event.detail) == ("adapter.removed", {"versions": digests, "aliases": {"prod": 2}})


def test_a_model_with_many_adapters_names_some_of_them(registry: Registry) -> None:
    build(registry)
    for number in range(12):
        registry.create_adapter("base", f"a{number:02}", **content())

    with pytest.raises(Conflict, match=r"a00, .*, a09 and others\."):
        registry.remove_base_model("base")


# ---- the weights of the base model --------------------------------------------------------------------------------


def test_a_version_for_other_weights_than_the_models_is_refused(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", made_for="f" * 64, **content())

    with pytest.raises(Conflict, match="other weights"):
        registry.create_adapter("base", "other", made_for="0" * 64, **content())
    with pytest.raises(Conflict, match="other weights"):
        registry.add_version("tone", made_for="0" * 64, **content())
    assert [adapter.name for adapter in registry.list_adapters(10)] == ["tone"]
    assert len(registry.find_adapter("tone").versions) == 1
