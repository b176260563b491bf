"""What one team has, another can't tell from what isn't there."""

from collections.abc import Iterator
from typing import Any

import pytest
from e2e.process import until
from e2e.teams.two_teams import CONFIGS, ROW, TURNED, WORDS, House, Member

SECRETS = ("zebra", "zebras-owner", "zebras-label")
TENSORS = {"x": [ROW]}


@pytest.fixture(scope="module")
def teams(shared_house: House) -> tuple[Member, Member]:
    """`hiding` has an adapter with all that an adapter can have, on each model; `looking` has one that is like it."""
    hiding, looking = shared_house.member("hiding"), shared_house.member("looking")
    for model, name in ((TURNED, "zebra"), (WORDS, "zebra-of-words")):
        assert hiding.create(name, model).status_code == 201
        hiding.repeat_version(name)
        split = {"versions": {"1": 0.5, "2": 0.5}}
        hiding.expect(200, "PUT", f"/adapters/{name}/aliases/prod", split)
        described = {"owner": SECRETS[1], "labels": {"stage": SECRETS[2]}, "description": "zebra"}
        hiding.expect(200, "PATCH", f"/adapters/{name}", described)
        shared_house.knows(hiding, name)
    assert looking.create("own", seed=7).status_code == 201
    shared_house.knows(looking, "own")
    for door in shared_house.doors:
        assert hiding.at(door).infer("zebra@prod").status_code == 200
        assert hiding.at(door).write("zebra-of-words@prod").status_code == 200
    return hiding, looking


def asked(name: str, of_words: str) -> Iterator[tuple[str, str, Any]]:
    """Everything that can be asked of an adapter."""
    path = f"/adapters/{name}"
    for below in ("", "/versions", "/versions/1", "/state", "/state?alias=prod", "/config", "/checkpoint", "/aliases"):
        yield "GET", path + below, None
    for below in ("/strength", "/diff", "/diff?before=own", "/aliases/prod/comparison", "/nothing"):
        yield "GET", path + below, None
    yield "GET", f"/adapters/own/diff?before={name}", None
    yield "PATCH", path, {"visibility": "shared"}
    yield "PATCH", f"{path}/versions/1", {"labels": {"a": "b"}}
    yield "PUT", f"{path}/aliases/prod", {"version": 1}
    yield "POST", f"{path}/versions", {"config": CONFIGS[TURNED]}
    for below in ("/aliases/prod", "/versions/1", "", "?drain=true"):
        yield "DELETE", path + below, None
    for verb in ("load", "unload"):
        yield "POST", f"/models/{TURNED}/adapters/{name}/{verb}", None
    for reference in (name, f"{name}@1", f"{name}@prod", f"{name}@9", [name], {name: 1.0}, {"own": 1.0, name: 0.5}):
        yield "POST", f"/models/{TURNED}/infer", {"adapter": reference, "inputs": TENSORS}
    composed = {"name": "made", "adapters": {"own": 1.0, name: 0.5}, "method": "linear"}
    yield "POST", f"/models/{TURNED}/adapters/compose", composed
    for reference in (of_words, f"{of_words}@1", f"{of_words}@prod", f"{WORDS}/{of_words}", f"{WORDS}/{of_words}@prod"):
        yield "GET", f"/v1/models/{reference}", None
        yield "POST", "/v1/completions", {"model": reference, "prompt": "a"}
        yield "POST", "/v1/chat/completions", {"model": reference, "messages": [{"role": "user", "content": "a"}]}
        yield "POST", "/v1/embeddings", {"model": reference, "input": "a"}
    yield "POST", "/v1/completions", {"model": WORDS, "prompt": "a", "adapter": {of_words: 0.5}}
    yield "POST", "/v1/completions", {"model": WORDS, "prompt": "a", "stream": True, "adapter": of_words}
    yield "POST", "/v1/unload_lora_adapter", {"lora_name": name}
    yield "GET", f"/adapters?model={name}", None
    yield "GET", f"/events?adapter={name}", None


def test_what_another_team_has_is_answered_as_what_is_not_there(
    shared_house: House, teams: tuple[Member, Member]
) -> None:
    _, looking = teams
    there = list(asked("hiding:zebra", "hiding:zebra-of-words"))
    absent = list(asked("hiding:okapi", "hiding:okapi-of-words"))
    for door in shared_house.doors:
        for (method, path, body), (_, other_path, other_body) in zip(there, absent, strict=True):
            found = looking.at(door).answer(method, path, body)
            expected = looking.at(door).answer(method, other_path, other_body)
            assert found.status != 500, (method, path, found)
            assert found.status == expected.status, (method, path, found, expected)
            assert found.body.replace("zebra", "okapi") == expected.body, (method, path)
            assert found.headers == expected.headers, (method, path)


def test_no_list_or_count_of_one_team_names_what_another_has(shared_house: House, teams: tuple[Member, Member]) -> None:
    hiding, looking = teams
    digest = hiding.expect(200, "GET", "/adapters/zebra")["digest"]
    key = hiding.expect(200, "GET", "/keys")["items"][0]["id"]
    hidden = (*SECRETS, "hiding", digest, key)
    lists = (
        "/adapters?count=true",
        "/adapters?labels=stage%3Dzebras-label",
        "/adapters?text=zebra",
        "/adapters?team=hiding",
        "/models",
        f"/models/{TURNED}",
        f"/models/{TURNED}/adapters",
        f"/models/{WORDS}",
        "/v1/models",
        "/events",
        "/events?team=hiding",
        f"/events?by={key}",
        "/keys",
        "/usage?group_by=team,model,adapter,version,key,hour",
        "/teams/looking",
    )
    for door in shared_house.doors:
        for path in lists:
            answer = looking.at(door).send("GET", path)
            text = answer.text.replace("/hiding", "").replace(path, "")
            assert answer.status_code in {200, 400}, (path, text)
            assert [word for word in hidden if word in text] == [], (path, text)
        for path in ("/teams", "/metrics", f"/models/{TURNED}/host"):
            looking.at(door).expect(403, "GET", path)


def test_other_teams_and_their_keys_are_not_there(shared_house: House, teams: tuple[Member, Member]) -> None:
    hiding, looking = teams
    key = hiding.expect(200, "GET", "/keys")["items"][0]["id"]
    for door in shared_house.doors:
        own = looking.at(door)
        for method, path, absent in (
            ("GET", "/teams/hiding", "/teams/absent"),
            ("DELETE", f"/keys/{key}", "/keys/aaaaaaaa"),
        ):
            found, expected = own.answer(method, path), own.answer(method, absent)
            name, other = path.rpartition("/")[2], absent.rpartition("/")[2]
            assert (found.status, found.body.replace(name, other)) == (404, expected.body)


def test_a_comparison_is_of_its_own_team(shared_house: House, teams: tuple[Member, Member]) -> None:
    hiding, _ = teams

    def counted() -> int:
        found = hiding.expect(200, "GET", "/adapters/zebra/aliases/prod/comparison")
        return sum(version["requests"] for version in found["versions"])

    until(lambda: counted() == len(shared_house.doors))
