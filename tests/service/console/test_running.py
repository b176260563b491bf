"""What runs the service from a browser: activity, uploads, usage, keys and teams."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from apps import LORA, ROWS, Start, as_form, create, expect, expect_problem, host, places, safetensors, settings_in
from consoles import HTML, get, post, sign_in, token_of
from starlette.testclient import TestClient

from service.bootstrap import create_app

KEY = "an-admins-key-of-my-own"
ADMIN = {"x-api-key": KEY}
WEIGHTS = {
    "first.lora_A.weight": torch.ones(2, 4),
    "first.lora_B.weight": torch.ones(8, 2),
    "second.lora_A.weight": torch.ones(2, 8),
    "second.lora_B.weight": torch.ones(3, 2),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(settings_in(tmp_path_factory.mktemp("running")))) as client:
        host(client, "mlp", "bases:mlp")
        create(client, "tone")
        yield client


def add_version(client: TestClient, name: str) -> None:
    state = safetensors(**WEIGHTS)
    media_type = {"content-type": "application/vnd.safetensors"}
    expect(client.put(f"/adapters/{name}/state", content=state, headers=media_type), 201)


def test_activity_says_who_changed_what_and_why_and_takes_a_move_back(client: TestClient) -> None:
    create(client, "undone")
    add_version(client, "undone")
    for version, reason in ((1, "first"), (2, "sounds better")):
        post(client, "/adapters/undone/aliases/prod", version=str(version), reason=reason)
    page = get(client, "/activity?adapter=undone&kind=alias")
    assert page.index("sounds better") < page.index("first")
    event = expect(client.get("/events", params={"adapter": "undone", "kind": "alias"}), 200)["items"][-1]
    links = re.findall(r'href="(/console/adapters/undone/move[^"]*)"', page)
    address = f"/console/adapters/undone/move?alias=prod&amp;version=1&amp;reason=Undo%20event%20{event['id']}"
    assert links == [address]  # the first move was from nowhere
    assert "Move prod to version 1" in client.get(address.replace("&amp;", "&"), headers=HTML).text


def test_activity_goes_back_a_page_at_a_time(client: TestClient) -> None:
    create(client, "busy")
    for number in range(51):
        labels: dict[str, Any] = {"labels": {"step": str(number)}}
        expect(client.patch("/adapters/busy", json=labels), 200)
    newest = get(client, "/activity?adapter=busy&kind=adapter")
    (older,) = re.findall(r'href="(/console/activity[^"]*before=\d+)"', newest)
    assert "adapter.created" not in newest
    assert "adapter.created" in client.get(older.replace("&amp;", "&"), headers=HTML).text


def bring(client: TestClient, path: str, config: dict[str, Any], weights: bytes, **fields: str) -> Any:
    headers = {"x-csrf-token": token_of(client)}
    return client.post(f"/console{path}", headers=headers, **as_form(json.dumps(config).encode(), weights, **fields))


def test_an_upload_is_checked_before_it_is_stored(client: TestClient) -> None:
    good = safetensors(**WEIGHTS)
    checked = expect(bring(client, "/models/mlp/adapters", LORA, good, name="brought", dry_run="true"), 200)
    assert checked["reference"] == "brought@1"
    assert client.get("/adapters/brought").status_code == 404
    expect(bring(client, "/models/mlp/adapters", LORA, good, name="brought"), 200)
    assert expect(client.get("/adapters/brought"), 200)["digest"] == checked["digest"]
    other = safetensors(**{name: tensor * 2 for name, tensor in WEIGHTS.items()})
    would_be = expect(bring(client, "/adapters/brought/versions", LORA, other, dry_run="true"), 200)
    assert (would_be["reference"], client.get("/adapters/brought").json()["version"]) == ("brought@2", 1)
    assert expect(bring(client, "/adapters/brought/versions", LORA, other), 201)["version"] == 2


def test_a_wrong_upload_lists_everything_that_is_wrong(client: TestClient) -> None:
    wrong = safetensors(**{**WEIGHTS, "first.lora_A.weight": torch.ones(2, 5), "third.lora_A.weight": torch.ones(2, 4)})
    answer = bring(client, "/models/mlp/adapters", LORA, wrong, name="wrong", dry_run="true")
    assert {"weights.first.lora_A.weight", "weights.third.lora_A.weight"} <= set(
        places(expect_problem(answer, 422, "invalid"))
    )


def test_usage_counts_what_was_asked(client: TestClient) -> None:
    before = sum(item["requests"] for item in expect(client.get("/usage"), 200)["items"])
    expect(client.post("/models/mlp/infer", json={"inputs": {"x": ROWS}, "adapter": "tone"}), 200)
    page = get(client, "/usage?days=1")
    assert f'aria-label="Requests by hours: {before + 1} in all"' in page
    assert '<th scope="row" class="long">tone@1</th>' in page


def test_each_models_load_is_drawn_by_hours(client: TestClient) -> None:
    before = sum(item["requests"] for item in expect(client.get("/usage?group_by=model"), 200)["items"])
    expect(client.post("/models/mlp/infer", json={"inputs": {"x": ROWS}}), 200)
    page = get(client, "")
    assert f'aria-label="Requests to mlp in the last 24 hours: {before + 1}"' in page
    assert page.count("<rect") == 24


def test_a_key_is_made_shown_once_and_revoked(start: Start) -> None:
    client = start(admin_key=KEY)
    sign_in(client, KEY)
    assert post(client, "/teams", name="fraud", adapters="3").status_code == 303
    made = post(client, "/keys", name="nightly", role="caller", team="fraud", days="7").text
    (secret,) = re.findall(r"ask_[a-z2-7]{8}_[\w-]{43}", made)
    expect(client.get("/adapters", headers={"x-api-key": secret}), 200)
    page = get(client, "/access")
    assert secret not in page
    assert "nightly" in page
    assert "0 of 3" in page
    id = secret.split("_")[1]
    assert post(client, f"/keys/{id}/revoke", reason="no longer needed").status_code == 303
    expect_problem(client.get("/adapters", headers={"x-api-key": secret}), 401, "unauthenticated")
    assert "no longer needed" in get(client, "/activity?kind=key")


def test_a_team_is_removed_with_a_reason_once_nothing_is_its(start: Start) -> None:
    client = start(admin_key=KEY)
    sign_in(client, KEY)
    post(client, "/teams", name="fraud")
    made = expect(client.post("/keys", headers=ADMIN, json={"name": "ci", "role": "caller", "team": "fraud"}), 201)
    assert "/console/teams/fraud/remove" in get(client, "/access")
    assert "/console/teams/default/remove" not in get(client, "/access")
    refused = post(client, "/teams/fraud/remove")
    assert refused.status_code == 409
    assert f"{made['id']} (ci)" in refused.text
    expect(client.delete(f"/keys/{made['id']}", headers=ADMIN), 204)
    expect(client.post("/keys", headers=ADMIN, json={"name": "other", "role": "caller"}), 201)
    assert post(client, "/teams/fraud/remove", reason="merged with search").status_code == 303
    assert "fraud" not in get(client, "/access")
    assert "merged with search" in get(client, "/activity?kind=team")


def test_a_publisher_has_keys_of_their_own_team_only(start: Start) -> None:
    client = start(admin_key=KEY)
    expect(client.post("/teams", headers=ADMIN, json={"name": "fraud"}), 201)
    for name, team in (("theirs", "default"), ("ours", "fraud")):
        body = {"name": name, "role": "publisher", "team": team}
        key = expect(client.post("/keys", headers=ADMIN, json=body), 201)["key"]
    sign_in(client, key)
    page = get(client, "/access")
    assert "ours" in page
    assert "theirs" not in page
    assert "Teams" not in page
    assert post(client, "/keys", name="n", role="admin").status_code == 403
    assert post(client, "/keys", name="n", role="nobody").status_code == 422
    assert post(client, "/teams", name="other").status_code == 403
    menu = re.findall(r'<a href="/console(/[a-z]+)"', page)
    assert menu == ["/adapters", "/playground", "/compare", "/upload", "/activity", "/usage", "/access"]


def test_what_users_wrote_is_never_markup_here_either(client: TestClient) -> None:
    script = "<script>alert(1)</script>"
    create(client, "scripted")
    post(client, "/adapters/scripted/aliases/prod", version="1", reason=script)
    page = get(client, "/activity?adapter=scripted")
    assert script not in page
    assert "alert(1)" in page
