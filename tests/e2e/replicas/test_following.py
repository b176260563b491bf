"""What one process acknowledges the other soon serves."""

import pytest
from e2e.adapters import create, state
from e2e.process import until
from e2e.replicas.pair import LORA, MODEL, SOURCE, Pair, answered_by, infer, put_state


def test_an_adapter_that_one_made_the_other_serves_bit_by_bit(pair: Pair) -> None:
    create(pair.one.http, MODEL, "made", LORA, seed=1)
    until(lambda: answered_by(pair.other, "made") == "made@1")
    assert infer(pair.other, "made").json()["outputs"] == infer(pair.one, "made").json()["outputs"]
    assert state(pair.other.http, "made") == state(pair.one.http, "made")


def test_a_new_version_is_the_newest_for_both(pair: Pair) -> None:
    create(pair.one.http, MODEL, "grown", LORA, seed=1)
    until(lambda: answered_by(pair.other, "grown") == "grown@1")
    assert put_state(pair.other, "grown", seed=2).status_code == 201
    until(lambda: answered_by(pair.one, "grown") == "grown@2")
    assert infer(pair.one, "grown").json()["digest"] == infer(pair.other, "grown").json()["digest"]


def test_an_adapter_that_one_deleted_the_other_no_longer_has(pair: Pair) -> None:
    create(pair.one.http, MODEL, "deleted", LORA, seed=1)
    until(lambda: answered_by(pair.other, "deleted") == "deleted@1")
    assert "deleted@1" in pair.other.http.get(f"/models/{MODEL}").json()["resident"]
    pair.one.http.delete("/adapters/deleted").raise_for_status()
    until(lambda: answered_by(pair.other, "deleted") == 404)
    until(lambda: "deleted@1" not in pair.other.http.get(f"/models/{MODEL}").json()["resident"])


def test_a_name_that_comes_back_means_the_new_adapter(pair: Pair) -> None:
    create(pair.one.http, MODEL, "again", LORA, seed=1)
    until(lambda: answered_by(pair.other, "again") == "again@1")
    before = infer(pair.other, "again").json()["digest"]
    pair.one.http.delete("/adapters/again").raise_for_status()
    create(pair.one.http, MODEL, "again", LORA, seed=2)
    until(lambda: infer(pair.other, "again").json().get("digest") not in (before, None))
    assert infer(pair.other, "again").json()["outputs"] == infer(pair.one, "again").json()["outputs"]


def test_a_base_model_that_failed_at_one_leaves_nothing_at_the_other(pair: Pair) -> None:
    one, other = pair.one.http, pair.other.http
    broken = {"id": "broken", "source": {"kind": "python", "factory": "bases:broken"}}
    assert one.post("/models", params={"wait": 60}, json=broken).status_code == 422
    until(lambda: other.get("/models/broken").status_code == 404)
    assert other.post("/models", params={"wait": 60}, json={**broken, "source": SOURCE}).status_code == 201
    until(lambda: one.get("/models/broken").json().get("state") == "ready")
    other.delete("/models/broken").raise_for_status()


def test_a_base_model_comes_goes_and_returns_in_both(pair: Pair) -> None:
    one, other = pair.one.http, pair.other.http
    pair.one.register("second", SOURCE)
    until(lambda: infer(pair.other, None, "second").status_code == 200)
    other.post("/models/second/unload").raise_for_status()
    until(lambda: infer(pair.one, None, "second").status_code == 409)
    assert one.get("/models/second").json()["state"] == "unloaded"
    one.post("/models/second/load").raise_for_status()
    until(lambda: infer(pair.other, None, "second").status_code == 200)
    one.delete("/models/second").raise_for_status()
    until(lambda: infer(pair.other, None, "second").status_code == 404)
    assert other.get("/models/second").status_code == 404


@pytest.mark.parametrize("who", ["one", "other"])
def test_both_list_the_same(pair: Pair, who: str) -> None:
    create(getattr(pair, who).http, MODEL, f"listed-by-{who}", LORA, seed=1)
    listed = [service.http.get("/adapters", params={"limit": 100}).json()["items"] for service in pair]
    names = [[adapter["name"] for adapter in adapters] for adapters in listed]
    assert names[0] == names[1]
    assert f"listed-by-{who}" in names[0]


def test_an_alias_moves_for_both_and_each_answer_is_one_whole_version(pair: Pair) -> None:
    create(pair.one.http, MODEL, "tone", LORA, seed=1)
    put_state(pair.one, "tone", seed=2).raise_for_status()
    whole = [(f"tone@{n}", infer(pair.one, f"tone@{n}").json()["outputs"]) for n in (1, 2)]
    seen: list[tuple[str, object]] = []

    def other_answers(version: int) -> bool:
        answer = infer(pair.other, "tone@prod")
        if answer.status_code == 200:
            seen.append((answer.json()["adapter"][0], answer.json()["outputs"]))
        return answer.status_code == 200 and seen[-1][0] == f"tone@{version}"

    for version in (1, 2, 1):
        pair.one.http.put("/adapters/tone/aliases/prod", json={"version": version}).raise_for_status()
        until(lambda version=version: other_answers(version))
    assert all(answer in whole for answer in seen)
