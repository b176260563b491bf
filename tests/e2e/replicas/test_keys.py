"""Keys and teams that one process made, and the other takes."""

from typing import Any

from e2e.process import Service, until
from e2e.replicas.pair import LORA, MODEL, Pair, answered_by

REFUSED = {401, 429}
"""An unknown key; and after ten requests with such ones in a minute, of whichever test, one that has to wait."""


def member(service: Service, team: str) -> dict[str, Any]:
    """A new key of the team's, with the headers of whoever shows it."""
    service.http.post("/teams", json={"name": team})
    answer = service.http.post("/keys", json={"name": "test", "role": "publisher", "team": team})
    assert answer.status_code == 201, answer.text
    return {"id": answer.json()["id"], "headers": {"x-api-key": answer.json()["key"]}}


def create(service: Service, name: str, headers: dict[str, str]) -> None:
    body = {"name": name, "config": LORA, "seed": 1}
    answer = service.http.post(f"/models/{MODEL}/adapters", json=body, headers=headers)
    assert answer.status_code == 201, answer.text


def test_a_key_that_one_made_the_other_takes_until_it_is_revoked(pair: Pair) -> None:
    key = member(pair.one, "taken")
    assert pair.other.http.get("/adapters", headers=key["headers"]).status_code == 200
    assert pair.other.http.delete(f"/keys/{key['id']}").status_code == 204
    assert pair.other.http.get("/adapters", headers=key["headers"]).status_code in REFUSED
    until(lambda: pair.one.http.get("/adapters", headers=key["headers"]).status_code in REFUSED)


def test_what_is_one_teams_is_not_there_for_another_in_either_process(pair: Pair) -> None:
    fraud, search = member(pair.one, "fraud")["headers"], member(pair.other, "search")["headers"]
    create(pair.one, "ours", fraud)
    until(lambda: answered_by(pair.other, "ours", **fraud) == "ours@1")
    for service in pair:
        assert answered_by(service, "fraud:ours", **search) == 404
        assert service.http.get("/adapters/fraud:ours", headers=search).status_code == 404
        assert service.http.get("/adapters", headers=search).json()["items"] == []
    shared = pair.other.http.patch("/adapters/ours", json={"visibility": "shared"}, headers=fraud)
    assert shared.status_code == 200, shared.text
    until(lambda: answered_by(pair.one, "fraud:ours", **search) == "fraud:ours@1")
