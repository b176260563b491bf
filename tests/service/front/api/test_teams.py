"""Teams: what one has, another doesn't find, change or use; names are unique within a team."""

from typing import Any

import pytest
from apps import RANDOM_LORA, ROWS, Start, expect, expect_problem, host
from starlette.testclient import TestClient

ADMIN = {"x-api-key": "the-operators-own-key"}


@pytest.fixture
def service(start: Start) -> TestClient:
    client = start(admin_key=ADMIN["x-api-key"])
    client.headers.update(ADMIN)
    host(client, "mlp", "bases:mlp")
    return client


def member(client: TestClient, team: str, role: str = "publisher", **limits: Any) -> dict[str, str]:
    """The headers of one of the team, which is made if it isn't there."""
    client.post("/teams", json={"name": team})
    body = {"name": "test", "role": role, "team": team, **limits}
    return {"x-api-key": expect(client.post("/keys", json=body), 201)["key"]}


def create(client: TestClient, who: dict[str, str], name: str, seed: int = 0) -> dict[str, Any]:
    body = {"name": name, "config": RANDOM_LORA, "seed": seed}
    return expect(client.post("/models/mlp/adapters", headers=who, json=body), 201)


def infer(client: TestClient, who: dict[str, str], adapter: Any) -> Any:
    return client.post("/models/mlp/infer", headers=who, json={"adapter": adapter, "inputs": {"x": ROWS}})


def names(client: TestClient, who: dict[str, str]) -> list[str]:
    return [item["name"] for item in expect(client.get("/adapters", headers=who), 200)["items"]]


def share(client: TestClient, who: dict[str, str], name: str) -> None:
    expect(client.patch(f"/adapters/{name}", headers=who, json={"visibility": "shared"}), 200)


def test_each_team_has_its_own_adapter_of_a_name(service: TestClient) -> None:
    fraud, search = member(service, "fraud"), member(service, "search")
    made = [create(service, who, "tone", seed) for seed, who in enumerate((ADMIN, fraud, search))]
    assert [one["reference"] for one in made] == ["tone@1"] * 3
    assert len({one["digest"] for one in made}) == 3
    for who, one in zip((ADMIN, fraud, search), made, strict=True):
        answer = expect(infer(service, who, "tone"), 200)
        assert answer["adapter"] == ["tone@1"] * 2
        assert answer["digest"] == [one["digest"]] * 2
        assert expect(service.get("/adapters/tone", headers=who), 200)["digest"] == one["digest"]


def test_every_name_in_the_list_of_models_is_found_by_it(service: TestClient) -> None:
    fraud = member(service, "fraud")
    create(service, fraud, "tone")
    expect(service.put("/adapters/tone/aliases/prod", headers=fraud, json={"version": 1}), 200)
    share(service, fraud, "tone")
    for who in (member(service, "search"), member(service, "fraud", adapters=["tone"])):
        listed = [model["id"] for model in expect(service.get("/v1/models", headers=who), 200)["data"]]
        assert len(listed) == 3
        for name in listed:
            assert expect(service.get(f"/v1/models/{name}", headers=who), 200)["id"] == name


def test_a_key_may_be_limited_to_a_shared_adapter_of_another_team(service: TestClient) -> None:
    fraud = member(service, "fraud")
    create(service, fraud, "tone")
    for name in ("tone", "style"):
        create(service, member(service, "search"), name)
    only = member(service, "search", "caller", adapters=["fraud:tone", "style"])
    assert names(service, only) == ["style"]
    share(service, fraud, "tone")
    assert names(service, only) == ["fraud:tone", "style"]
    assert expect(infer(service, only, "fraud:tone"), 200)["adapter"] == ["fraud:tone@1"] * 2
    expect_problem(infer(service, only, "tone"), 404, "not-found")
    body = {"name": "test", "role": "caller", "adapters": ["a:b:c"]}
    expect_problem(service.post("/keys", json=body), 422, "invalid")


def test_an_admin_sees_all_and_others_see_their_own(service: TestClient) -> None:
    fraud, search = member(service, "fraud"), member(service, "search")
    create(service, fraud, "tone")
    create(service, search, "style")
    create(service, ADMIN, "common")
    assert names(service, ADMIN) == ["common", "fraud:tone", "search:style"]
    assert names(service, fraud) == ["tone"]
    assert names(service, search) == ["style"]
    of_model = expect(service.get("/models/mlp/adapters", headers=fraud), 200)["items"]
    assert [item["name"] for item in of_model] == ["tone"]


@pytest.mark.parametrize("name", ["fraud:tone", "tone", "default:tone"])
def test_what_belongs_to_another_team_is_not_there(service: TestClient, name: str) -> None:
    create(service, member(service, "fraud"), "tone")
    create(service, ADMIN, "tone")
    other = member(service, "search")
    absent = expect_problem(service.get("/adapters/never", headers=other), 404, "not-found")["detail"]
    for method, path in [
        ("GET", f"/adapters/{name}"),
        ("GET", f"/adapters/{name}/versions"),
        ("GET", f"/adapters/{name}/versions/1"),
        ("GET", f"/adapters/{name}/state"),
        ("GET", f"/adapters/{name}/config"),
        ("GET", f"/adapters/{name}/checkpoint"),
        ("GET", f"/adapters/{name}/aliases"),
        ("DELETE", f"/adapters/{name}"),
        ("POST", f"/models/mlp/adapters/{name}/load"),
    ]:
        problem = expect_problem(service.request(method, path, headers=other), 404, "not-found")
        assert problem["detail"] == absent.replace("never", name)
    problem = expect_problem(infer(service, other, name), 404, "not-found")
    assert problem["detail"] == f"There is no adapter {name!r}."
    composed = {"name": "mine", "adapters": {name: 1.0}, "method": "cat"}
    expect_problem(service.post("/models/mlp/adapters/compose", headers=other, json=composed), 404, "not-found")


def test_a_shared_adapter_is_used_by_others_and_changed_by_its_team_alone(service: TestClient) -> None:
    fraud, search = member(service, "fraud"), member(service, "search")
    made = create(service, fraud, "tone")
    expect(service.put("/adapters/tone/aliases/prod", headers=fraud, json={"version": 1}), 200)
    share(service, fraud, "tone")
    assert names(service, search) == ["fraud:tone"]
    answer = expect(infer(service, search, ["fraud:tone@prod", None]), 200)
    assert answer["adapter"] == ["fraud:tone@1", None]
    weighted = expect(infer(service, search, {"fraud:tone": 0.5}), 200)
    assert weighted["adapter"] == [{"fraud:tone@1": 0.5}] * 2
    assert service.get("/adapters/fraud:tone/state", headers=search).headers["etag"] == f'"{made["digest"][7:]}"'
    for method, path, body in [
        ("DELETE", "/adapters/fraud:tone", None),
        ("PATCH", "/adapters/fraud:tone", {"visibility": "private"}),
        ("PUT", "/adapters/fraud:tone/aliases/prod", {"version": 1}),
        ("POST", "/models/mlp/adapters/fraud:tone/unload", None),
    ]:
        expect_problem(service.request(method, path, headers=search, json=body), 403, "forbidden")
    expect(service.patch("/adapters/tone", headers=fraud, json={"visibility": "private"}), 200)
    expect_problem(infer(service, search, "fraud:tone"), 404, "not-found")


def test_an_adapter_of_the_default_team_is_seen_by_others_where_it_is_shared(service: TestClient) -> None:
    create(service, ADMIN, "common")
    share(service, ADMIN, "common")
    fraud = member(service, "fraud", "caller")
    assert names(service, fraud) == ["default:common"]
    assert expect(infer(service, fraud, "default:common"), 200)["adapter"] == ["default:common@1"] * 2
    expect_problem(infer(service, fraud, "common"), 404, "not-found")


def test_problems_name_adapters_as_their_reader_does(service: TestClient) -> None:
    fraud = member(service, "fraud")
    create(service, fraud, "tone")
    body = {"name": "tone", "config": RANDOM_LORA}
    taken = expect_problem(service.post("/models/mlp/adapters", headers=fraud, json=body), 409, "conflict")
    assert "fraud" not in str(taken), taken
    problem = expect_problem(service.get("/adapters/tone/state?alias=prod", headers=fraud), 404, "not-found")
    assert problem["detail"] == "The adapter 'tone' has no alias 'prod'."


def test_events_are_the_own_teams_and_name_things_as_it_does(service: TestClient) -> None:
    fraud, search = member(service, "fraud"), member(service, "search")
    create(service, fraud, "tone")
    create(service, search, "style")
    create(service, ADMIN, "common")
    for who, own in [(fraud, "tone"), (search, "style")]:
        events = expect(service.get("/events", headers=who), 200)["items"]
        subjects = {event["subject"] for event in events if not event["kind"].startswith("model.")}
        assert subjects == {own, f"{own}@1"}
    everything = str(expect(service.get("/events"), 200))
    assert all(name in everything for name in ("fraud:tone@1", "search:style@1", "common@1", "key.created"))


def test_a_models_page_lists_no_adapter_of_another_team(service: TestClient) -> None:
    fraud, search = member(service, "fraud"), member(service, "search")
    create(service, fraud, "tone")
    expect(infer(service, fraud, "tone"), 200)
    assert expect(service.get("/models/mlp", headers=fraud), 200)["resident"] == ["tone@1"]
    assert expect(service.get("/models/mlp", headers=search), 200)["resident"] == []
    assert expect(service.get("/models/mlp"), 200)["resident"] == ["fraud:tone@1"]


def test_a_new_adapter_belongs_to_its_makers_team(service: TestClient) -> None:
    fraud = member(service, "fraud")
    body = {"name": "search:tone", "config": RANDOM_LORA}
    expect_problem(service.post("/models/mlp/adapters", headers=fraud, json=body), 422, "invalid")


def test_an_idempotency_key_belongs_to_the_team(service: TestClient) -> None:
    body = {"name": "tone", "config": RANDOM_LORA, "seed": 1}
    once = {"idempotency-key": "the-same"}
    made = [
        expect(service.post("/models/mlp/adapters", headers={**who, **once}, json=body), 201)
        for who in (ADMIN, member(service, "fraud"), member(service, "search"))
    ]
    assert len(made) == 3
    assert names(service, ADMIN) == ["fraud:tone", "search:tone", "tone"]


def test_a_key_that_is_limited_to_adapters_finds_no_other(service: TestClient) -> None:
    fraud = member(service, "fraud")
    create(service, fraud, "tone")
    create(service, fraud, "style")
    limited = member(service, "fraud", "caller", adapters=["tone"])
    assert names(service, limited) == ["tone"]
    expect(infer(service, limited, "tone"), 200)
    expect_problem(infer(service, limited, "style"), 404, "not-found")
    expect_problem(service.get("/adapters/style", headers=limited), 404, "not-found")


def test_a_key_that_is_limited_to_adapters_makes_no_other(service: TestClient) -> None:
    limited = member(service, "fraud", adapters=["tone"])
    create(service, limited, "tone")
    body = {"name": "style", "config": RANDOM_LORA, "dry_run": True}
    expect_problem(service.post("/models/mlp/adapters", headers=limited, json=body), 403, "forbidden")
    body = {"name": "style", "adapters": {"tone": 0.5}, "method": "linear"}
    expect_problem(service.post("/models/mlp/adapters/compose", headers=limited, json=body), 403, "forbidden")
    assert names(service, member(service, "fraud")) == ["tone"]


def test_a_key_that_is_limited_to_models_infers_with_no_other(service: TestClient) -> None:
    limited = member(service, "fraud", "caller", models=["other"])
    expect_problem(infer(service, limited, None), 404, "not-found")


def test_how_a_shared_adapter_does_is_for_its_own_team_to_know(service: TestClient) -> None:
    fraud, search = member(service, "fraud"), member(service, "search")
    create(service, fraud, "tone")
    expect(service.put("/adapters/tone/aliases/prod", headers=fraud, json={"version": 1}), 200)
    share(service, fraud, "tone")
    expect(infer(service, search, "fraud:tone@prod"), 200)
    path = "/adapters/fraud:tone/aliases/prod/comparison"
    for who in (fraud, ADMIN):
        assert expect(service.get(path, headers=who), 200)["versions"][0]["requests"] == 1
    expect_problem(service.get(path, headers=search), 403, "forbidden")


def test_what_a_team_says_of_its_adapter_is_kept(service: TestClient) -> None:
    fraud = member(service, "fraud")
    create(service, fraud, "tone")
    words = {"description": "for chats", "owner": "me", "labels": {"stage": "prod"}}
    answer = expect(service.patch("/adapters/tone", headers=fraud, json=words), 200)
    assert {name: answer[name] for name in words} == words
    expect(service.patch("/adapters/tone", headers=fraud, json={"owner": None}), 200)
    answer = expect(service.get("/adapters/tone", headers=fraud), 200)
    assert (answer["description"], answer["owner"], answer["labels"]) == ("for chats", None, {"stage": "prod"})
    wrong = {"labels": {"a b": "c"}}
    expect_problem(service.patch("/adapters/tone", headers=fraud, json=wrong), 422, "invalid")


def test_pages_go_on_from_another_teams_name(service: TestClient) -> None:
    for team in ("fraud", "search"):
        create(service, member(service, team), "tone")
    first = expect(service.get("/adapters?limit=1"), 200)
    second = expect(service.get(f"/adapters?limit=1&cursor={first['next_cursor']}"), 200)
    assert [page["items"][0]["name"] for page in (first, second)] == ["fraud:tone", "search:tone"]
