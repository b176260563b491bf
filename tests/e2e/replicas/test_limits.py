"""A team's limits are those of both processes together."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from e2e.process import Service, until
from e2e.replicas.pair import LORA, MODEL, Pair, infer


def member(pair: Pair, team: str, **limits: Any) -> dict[str, str]:
    """The headers of a new team's key, which both processes know."""
    pair.one.http.post("/teams", json={"name": team, "limits": limits}).raise_for_status()
    key = pair.one.http.post("/keys", json={"name": "test", "role": "publisher", "team": team}).json()["key"]
    headers = {"x-api-key": key}
    assert pair.other.http.get("/adapters", headers=headers).status_code == 200
    return headers


def test_of_both_at_once_no_more_adapters_pass_than_the_team_may_have(pair: Pair) -> None:
    headers = member(pair, "storing", adapters=3)

    def create(number: int) -> int:
        body = {"name": f"a{number}", "config": LORA, "seed": number}
        return pair[number % 2].http.post(f"/models/{MODEL}/adapters", json=body, headers=headers).status_code

    with ThreadPoolExecutor(8) as callers:
        statuses = sorted(callers.map(create, range(8)))
    assert statuses == [201] * 3 + [507] * 5
    listed = pair.other.http.get("/adapters", params={"team": "storing"}, headers=headers).json()["items"]
    assert len(listed) == 3


def test_what_one_process_let_pass_the_other_counts(pair: Pair) -> None:
    headers = member(pair, "asking", requests_per_minute=60)

    def spent(service: Service) -> int:
        return service.http.get("/teams/asking", headers=headers).json()["use"]["requests_per_minute"]

    for _ in range(30):
        assert infer(pair.one, None, **headers).status_code == 200
    until(lambda: spent(pair.other) > 0)
    limits = {"limits": {"requests_per_minute": 0}}
    pair.one.http.patch("/teams/asking", json=limits).raise_for_status()
    until(lambda: infer(pair.other, None, **headers).status_code == 429)
