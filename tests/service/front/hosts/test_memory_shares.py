"""What adapters may take where the operator set no limit: a part of the machine that loaded models share."""

import pytest
from engines import RANDOM_LORA, Running, eventually

from models_registry.errors import NoRoom
from service.host import live_model

ROOM = 600
ONE = 184  # bytes of RANDOM_LORA on the tiny MLP: 46 float32 numbers


@pytest.fixture(autouse=True)
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_model, "a_quarter_of_memory", lambda _: ROOM)


def limits(running: Running) -> dict[str, int | None]:
    told = running.engine.models.stats()
    return {model: stats.hosted and stats.hosted.adapters.max_bytes for model, stats in told.items()}


def test_loaded_models_share_the_room_and_get_it_back(running: Running) -> None:
    running.host("one")
    assert limits(running) == {"one": ROOM}
    running.host("two")
    eventually(lambda: limits(running) == {"one": ROOM // 2, "two": ROOM // 2})
    running.engine.models.unload("two")
    eventually(lambda: limits(running) == {"one": ROOM, "two": None})


def test_what_no_longer_fits_is_evicted_unless_it_is_pinned(running: Running) -> None:
    running.host("one")
    for name in ("a", "b", "c"):
        running.create(name, RANDOM_LORA, model="one")
    running.engine.adapters.load("one", "b", pin=True)
    assert [running.tier(name) for name in ("a", "b", "c")] == ["resident"] * 3
    running.host("two")
    eventually(lambda: [running.tier(name) for name in ("a", "b", "c")] == ["stored", "resident", "stored"])


def test_a_model_that_would_leave_pinned_adapters_no_room_is_not_loaded(running: Running) -> None:
    running.host("one")
    running.host("two")
    running.engine.models.unload("two")
    for name in ("a", "b"):
        running.create(name, RANDOM_LORA, model="one")
        running.engine.adapters.load("one", name, pin=True)
    with pytest.raises(NoRoom, match=f"pinned ones of 'one' take {2 * ONE}"):
        running.engine.models.load("two")
    with pytest.raises(NoRoom, match="With 'three' in memory"):
        running.begin_hosting("three", "bases:mlp")
    assert not running.engine.models.find("two").base.hosted
    assert [status.base.id for status in running.engine.models.page(10)] == ["one", "two"]
    running.engine.adapters.unload("one", "a")
    running.engine.models.load("two")
    assert running.wait_for_model("two").state == "ready"
    assert running.tier("b") == "resident"


def test_hosts_have_the_shares_of_teams_whenever_they_begin(running: Running) -> None:
    running.host("one")
    running.hosting.shares.set_teams({"default": ONE / ROOM})
    running.host("two")
    eventually(lambda: limits(running) == {"one": ROOM // 2, "two": ROOM // 2})
    for model in ("one", "two"):
        running.create(f"a-{model}", RANDOM_LORA, model=model)
        with pytest.raises(NoRoom, match="team 'default' may take 92"):
            running.answer(f"a-{model}", model=model)
    running.hosting.shares.set_teams({})
    assert running.answer("a-two", model="two").outputs
