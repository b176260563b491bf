"""What two processes count together is what was asked for, to the call."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from e2e.process import Service, until
from e2e.replicas.pair import LORA, MODEL, Pair, infer
from e2e.replicas.test_keys import member

CALLS = 60


def usage(service: Service, headers: dict[str, str], by: str = "") -> list[dict[str, Any]]:
    query = {"group_by": by} if by else {}
    answer = service.http.get("/usage", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_both_count_into_the_same_hours_without_losing_any(pair: Pair) -> None:
    key = member(pair.one, "counted")["headers"]
    assert pair.other.http.get("/adapters", headers=key).status_code == 200
    body = {"name": "counted", "config": LORA, "seed": 1}
    assert pair.one.http.post(f"/models/{MODEL}/adapters", json=body, headers=key).status_code == 201
    until(lambda: infer(pair.other, "counted", **key).status_code == 200)
    (before,) = usage(pair.other, key)

    def ask(number: int) -> int:
        return infer(pair[number % 2], ("counted", None, "missing")[number % 3], **key).status_code

    with ThreadPoolExecutor(8) as callers:
        statuses = list(callers.map(ask, range(CALLS)))
    assert statuses.count(200) == CALLS * 2 // 3
    due = (before["requests"] + CALLS * 2 // 3, before["errors"] + CALLS // 3)
    for service in pair:  # what the other one still holds comes within seconds
        until(lambda service=service: usage(service, key)[0]["requests"] >= due[0])
        until(lambda service=service: usage(service, key)[0]["errors"] >= due[1])
    for service in pair:
        (total,) = usage(service, key)
        assert (total["requests"], total["errors"]) == due
        assert total["rows"] == 2 * due[0]
        by_adapter = {item["adapter"]: item["requests"] for item in usage(service, key, "adapter")}
        assert by_adapter == {"counted": before["requests"] + CALLS // 3, None: CALLS // 3}


def test_a_team_never_sees_anothers_usage(pair: Pair) -> None:
    mine, other = (member(pair.one, team)["headers"] for team in ("mine", "theirs"))
    assert infer(pair.one, None, **mine).status_code == 200
    assert [item["team"] for item in usage(pair.one, mine, "team")] == ["mine"]
    assert usage(pair.one, other, "team") == []
