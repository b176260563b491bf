"""What pages show, to whom, and that nothing which users wrote is markup."""

import re
from collections.abc import Iterator

import pytest
from apps import LORA, RANDOM_LORA, Start, create, expect, host, settings_in, two_versions
from consoles import HTML, get, post, sign_in
from starlette.testclient import TestClient

from service.bootstrap import create_app

KEY = "an-admins-key-of-my-own"
ADMIN = {"x-api-key": KEY}
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(create_app(settings_in(tmp_path_factory.mktemp("console")))) as client:
        host(client, "mlp", "bases:mlp")
        two_versions(client, "tone")
        yield client


def test_a_model_stands_there_with_its_state_and_queue(client: TestClient) -> None:
    page = get(client, "")
    assert '<span class="state ready">ready</span>' in page
    assert "0 requests, 0 rows" in page


def test_what_a_change_was_about_is_written_as_json(client: TestClient) -> None:
    page = get(client, "/activity?kind=model.registered")
    assert "&#34;factory&#34;: &#34;bases:mlp&#34;" in page
    assert "&#39;factory&#39;" not in page


def test_adapters_are_found_by_what_lists_are_searched_for(client: TestClient) -> None:
    create(client, "hidden-one")
    words = {"description": "speaks softly", "labels": {"stage": "canary"}}
    expect(client.patch("/adapters/tone", json=words), 200)
    for query in ["q=softly", "labels=stage%3Dcanary", "q=tone&method=LORA&sort=-created"]:
        page = get(client, f"/adapters?{query}")
        assert "/console/adapters/tone" in page
        assert "/console/adapters/hidden-one" not in page
    assert "No adapter that you may see" in get(client, "/adapters", q="nothing-like-it")


def test_an_adapters_page_has_versions_config_digest_and_calls(client: TestClient) -> None:
    page = get(client, "/adapters/tone")
    found = expect(client.get("/adapters/tone"), 200)
    for version in found["versions"]:
        assert version["digest"] in page
    assert "&#34;lora_alpha&#34;: 4" in page
    assert "curl -sS http://testserver/models/mlp/infer" in page
    assert page.index("Version 2") < page.index("Version 1")


def test_the_map_names_norms_by_layer(client: TestClient) -> None:
    strengths = expect(client.get("/adapters/tone/strength"), 200)["targets"]
    page = get(client, "/adapters/tone/map", version=2)
    assert [target["target"] for target in strengths] == ["first", "second"]
    for target in strengths:
        assert f"{target['target']}: norm {target['norm']:.4g}" in page
    assert "shade9" in page


def test_a_target_that_no_forward_entered_is_marked_in_the_map(client: TestClient) -> None:
    host(client, "detour", "bases:detour")
    config = {**RANDOM_LORA, "target_modules": ["main", "spare"]}
    create(client, "detoured", config, "detour")
    expect(client.post("/models/detour/infer", json={"inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}}), 200)
    entered = {m["name"]: m["entered"] for m in expect(client.get("/models/detour/modules"), 200)["modules"]}
    page = get(client, "/adapters/detoured/map")
    assert ("was not seen to enter 1 of them (∅): spare" in page) == (entered["spare"] is False)


def test_an_alias_is_moved_with_a_reason_after_a_look_at_both_versions(client: TestClient) -> None:
    create(client, "moved")
    page = get(client, "/adapters/moved/move", alias="prod", version=1)
    assert "Move prod to version 1" in page
    answer = post(client, "/adapters/moved/aliases/prod", version="1", reason="better on dialogues")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/adapters/moved")
    assert expect(client.get("/adapters/moved"), 200)["aliases"] == {"prod": 1}
    event = expect(client.get("/events", params={"adapter": "moved", "kind": "alias"}), 200)["items"][-1]
    assert event["reason"] == "better on dialogues"


@pytest.mark.parametrize(
    ("fields", "status"), [({}, 422), ({"version": "x"}, 422), ({"version": "9"}, 404), ({"version": "0"}, 422)]
)
def test_a_move_that_can_not_be_is_a_page_that_says_why(
    client: TestClient, fields: dict[str, str], status: int
) -> None:
    answer = post(client, "/adapters/tone/aliases/prod", **fields)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "version" in answer.text


def test_what_users_wrote_is_never_markup(client: TestClient) -> None:
    create(client, "nasty")
    words = {"description": SCRIPT, "owner": SCRIPT, "labels": {"stage": "x"}}
    expect(client.patch("/adapters/nasty", json=words), 200)
    body = {"name": "noted", "config": LORA, "metadata": {"note": SCRIPT}}
    expect(client.post("/models/mlp/adapters", json=body), 201)
    pages = [
        get(client, "/adapters/nasty"),
        get(client, "/adapters/noted"),
        get(client, "/adapters", q=SCRIPT),
        get(client, "/adapters/nasty/move", version=1, reason=SCRIPT),
        get(client, "/login", back=SCRIPT),
        client.get(f"/console/{SCRIPT}", headers=HTML).text,
    ]
    for page in pages:
        assert SCRIPT not in page
        assert "alert(1)" in page


def test_pages_let_nothing_run_but_the_packages_own_scripts(client: TestClient) -> None:
    for path in ["/console", "/console/adapters/tone", "/console/nothing", "/console/login"]:
        policy = client.get(path, headers=HTML).headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("asset", ["console.css", "console.js", "htmx.min.js", "icon.svg"])
def test_assets_come_from_the_package_without_a_key(start: Start, asset: str) -> None:
    assert start(admin_key=KEY).get(f"/console/assets/{asset}").status_code == 200


def test_what_a_key_may_not_see_is_not_there(start: Start) -> None:
    client = start(admin_key=KEY)
    source = {"kind": "python", "factory": "bases:mlp", "kwargs": {}}
    expect(client.post("/models", params={"wait": 60}, headers=ADMIN, json={"id": "mlp", "source": source}), 201)
    expect(client.post("/teams", headers=ADMIN, json={"name": "fraud"}), 201)
    body = {"name": "secret", "config": LORA}
    expect(client.post("/models/mlp/adapters", headers=ADMIN, json=body), 201)
    new = {"name": "k", "role": "publisher", "team": "fraud"}
    sign_in(client, expect(client.post("/keys", headers=ADMIN, json=new), 201)["key"])
    assert "secret" not in get(client, "/adapters")
    assert "Queue" not in get(client, "")
    for path in ["/adapters/secret", "/adapters/default:secret", "/adapters/default:secret/map"]:
        get(client, path, 404)
    assert post(client, "/adapters/default:secret/aliases/prod", version="1").status_code == 404


def test_another_teams_shared_adapter_is_seen_but_not_moved(start: Start) -> None:
    client = start(admin_key=KEY)
    source = {"kind": "python", "factory": "bases:mlp", "kwargs": {}}
    expect(client.post("/models", params={"wait": 60}, headers=ADMIN, json={"id": "mlp", "source": source}), 201)
    expect(client.post("/teams", headers=ADMIN, json={"name": "fraud"}), 201)
    expect(client.post("/models/mlp/adapters", headers=ADMIN, json={"name": "open", "config": LORA}), 201)
    expect(client.patch("/adapters/open", headers=ADMIN, json={"visibility": "shared"}), 200)
    new = {"name": "k", "role": "publisher", "team": "fraud"}
    sign_in(client, expect(client.post("/keys", headers=ADMIN, json=new), 201)["key"])
    page = get(client, "/adapters/default:open")
    assert "default:open@1" in page
    assert "Move an alias" not in page
    assert post(client, "/adapters/default:open/aliases/prod", version="1").status_code == 403


def test_a_hidden_model_is_as_one_that_never_was(start: Start) -> None:
    client = start(admin_key=KEY)
    source = {"kind": "python", "factory": "bases:mlp", "kwargs": {}}
    body = {"id": "mlp", "source": source, "teams": ["default"]}
    expect(client.post("/models", params={"wait": 60}, headers=ADMIN, json=body), 201)
    expect(client.post("/teams", headers=ADMIN, json={"name": "fraud"}), 201)
    new = {"name": "k", "role": "publisher", "team": "fraud"}
    sign_in(client, expect(client.post("/keys", headers=ADMIN, json=new), 201)["key"])
    for path, fields in [("try", {"input": "a"}), ("compare", {"inputs": "a", "after": "tone"})]:
        said = [post(client, f"/models/{model}/{path}", **fields) for model in ("mlp", "nev")]
        assert [answer.status_code for answer in said] == [404, 404]
        details = [answer.text.replace("mlp", "nev").partition("Request ")[0] for answer in said]
        assert re.findall("<p>.*</p>", details[0]) == re.findall("<p>.*</p>", details[1]) != []
    for page in ["", "/playground", "/compare", "/upload"]:
        assert "mlp" not in get(client, page)
