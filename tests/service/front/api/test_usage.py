"""What `GET /usage` says is what was asked for: by both APIs, whole and as streams, and for whoever may know."""

import csv
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from apps import RANDOM_LORA, ROWS, Start, expect, expect_problem, host, places, settings_in
from starlette.testclient import TestClient
from transformers import BertModel
from word_models import bert_config, save, tiny_llama, word_tokenizer

from models_registry.storage.database import migrate, open_database
from models_registry.usage import Usage
from models_registry.usage_records import UsageBatch, UsageCounts, UsageGroup, hour_of
from service.bootstrap import create_app

ADMIN = {"x-api-key": "the-operators-own-key"}
COUNTS = ("requests", "rows", "prompt_tokens", "generated_tokens", "errors")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    directory = tmp_path_factory.mktemp("usage")
    save(BertModel(bert_config()), word_tokenizer(), directory / "models" / "encoder")
    save(tiny_llama(), word_tokenizer(), directory / "models" / "writer")
    with TestClient(create_app(settings_in(directory))) as client:
        for model in ("encoder", "writer"):
            body = {"id": model, "source": {"kind": "huggingface", "path": model}}
            expect(client.post("/models?wait=60", json=body), 201)
        yield client


@pytest.fixture
def service(start: Start) -> TestClient:
    client = start(admin_key=ADMIN["x-api-key"])
    client.headers.update(ADMIN)
    host(client, "mlp", "bases:mlp")
    return client


def used(client: TestClient, who: Mapping[str, str] | None = None, by: str | None = None) -> list[dict[str, Any]]:
    query = {} if by is None else {"group_by": by}
    return expect(client.get("/usage", params=query, headers=who), 200)["items"]


def counted(item: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(item[name] for name in COUNTS)


def member(client: TestClient, team: str, **limits: Any) -> tuple[str, dict[str, str]]:
    """A key's id, and its headers."""
    client.post("/teams", json={"name": team})
    body = {"name": "test", "role": "publisher", "team": team, **limits}
    made = expect(client.post("/keys", json=body), 201)
    return made["id"], {"x-api-key": made["key"]}


def create(client: TestClient, who: Mapping[str, str], name: str) -> None:
    body = {"name": name, "config": RANDOM_LORA, "seed": 1}
    expect(client.post("/models/mlp/adapters", headers=who, json=body), 201)


def infer(client: TestClient, who: Mapping[str, str], adapter: Any = None) -> int:
    body = {"adapter": adapter, "inputs": {"x": ROWS}}
    return client.post("/models/mlp/infer", headers=who, json=body).status_code


@pytest.mark.parametrize(
    ("path", "body", "rows"),
    [
        ("/models/writer/infer", {"inputs": {"text": ["a b c", "d"]}, "parameters": {"max_new_tokens": 4}}, 2),
        (
            "/models/writer/infer",
            {"inputs": {"text": ["a b c", "d"]}, "parameters": {"max_new_tokens": 4}, "stream": True},
            2,
        ),
        ("/v1/completions", {"model": "writer", "prompt": "a b c d", "max_tokens": 4}, 1),
        ("/v1/completions", {"model": "writer", "prompt": "a b c d", "max_tokens": 4, "stream": True}, 1),
    ],
    ids=["infer", "streamed infer", "completion", "streamed completion"],
)
def test_both_apis_count_the_same_tokens(texts: TestClient, path: str, body: dict[str, Any], rows: int) -> None:
    before = used(texts)[0]
    assert texts.post(path, json=body).status_code == 200
    after = used(texts)[0]
    more = {name: after[name] - before[name] for name in (*COUNTS, "forward_seconds")}
    assert (more["requests"], more["rows"], more["prompt_tokens"], more["errors"]) == (1, rows, 4, 0)
    assert rows <= more["generated_tokens"] <= 4 * rows
    assert more["forward_seconds"] > 0


def test_embeddings_count_the_tokens_of_their_texts(texts: TestClient) -> None:
    body = {"model": "encoder", "input": ["a b c", "d"]}
    before = used(texts)[0]
    counted_by_openai = expect(texts.post("/v1/embeddings", json=body), 200)["usage"]["prompt_tokens"]
    after = used(texts)[0]
    assert after["prompt_tokens"] - before["prompt_tokens"] == counted_by_openai
    assert after["rows"] - before["rows"] == 2


def test_usage_is_by_team_key_and_version_of_the_adapter(service: TestClient) -> None:
    id, fraud = member(service, "fraud")
    create(service, fraud, "tone")
    for _ in range(3):
        assert infer(service, fraud, "tone") == 200
    assert infer(service, ADMIN) == 200
    items = used(service, ADMIN, "team,key,model,adapter,version")
    asked = {(item["team"], item["key"]): item for item in items if item["requests"]}
    own = asked["fraud", id]
    assert (own["model"], own["adapter"], own["version"]) == ("mlp", "fraud:tone", 1)
    assert counted(own) == (3, 6, 0, 0, 0)
    base = asked["default", "admin-key"]
    assert (base["adapter"], base["version"], base["requests"]) == (None, None, 1)


def test_a_team_sees_its_own_usage_under_its_own_names(service: TestClient) -> None:
    _, fraud = member(service, "fraud")
    _, search = member(service, "search")
    create(service, fraud, "tone")
    assert infer(service, fraud, "tone") == 200
    assert infer(service, search) == 200
    assert [item["team"] for item in used(service, fraud, "team")] == ["fraud"]
    assert [item["adapter"] for item in used(service, fraud, "adapter")] == ["tone"]
    assert used(service, search)[0]["requests"] == 1
    assert used(service, ADMIN)[0]["requests"] == 2


def test_a_limited_key_sees_what_it_used_itself(service: TestClient) -> None:
    _, fraud = member(service, "fraud")
    _, limited = member(service, "fraud", models=["mlp"])
    assert [infer(service, who) for who in (fraud, fraud, limited)] == [200] * 3
    assert used(service, fraud)[0]["requests"] == 3
    assert used(service, limited)[0]["requests"] == 1


def test_each_row_counts_for_its_adapter_and_the_call_for_the_first(service: TestClient) -> None:
    _, fraud = member(service, "fraud")
    create(service, fraud, "a")
    create(service, fraud, "b")
    assert infer(service, fraud, ["b", {"a": 0.5, "b": 0.5}]) == 200
    assert infer(service, fraud, ["b", None]) == 200
    by_adapter = {item["adapter"]: item for item in used(service, fraud, "adapter")}
    assert {name: (item["requests"], item["rows"]) for name, item in by_adapter.items()} == {
        "a": (0, 1),
        "b": (2, 2),
        None: (0, 1),
    }
    assert (used(service, fraud)[0]["requests"], used(service, fraud)[0]["rows"]) == (2, 4)


def test_calls_without_an_answer_are_errors(service: TestClient) -> None:
    _, fraud = member(service, "fraud")
    assert infer(service, fraud, "nothing") == 404
    bad = {"inputs": {"x": [[1.0]]}}
    assert service.post("/models/mlp/infer", headers=fraud, json=bad).status_code == 422
    assert service.post("/models/never/infer", headers=fraud, json=bad).status_code == 404
    by_model = {item["model"]: counted(item) for item in used(service, fraud, "model")}
    assert by_model == {"mlp": (0, 0, 0, 0, 2), None: (0, 0, 0, 0, 1)}


def test_stored_bytes_are_their_owners(service: TestClient) -> None:
    _, fraud = member(service, "fraud")
    _, search = member(service, "search")
    create(service, fraud, "tone")
    (own,) = used(service, fraud, "adapter,version")
    assert (own["adapter"], own["version"]) == ("tone", 1)
    assert own["stored_byte_hours"] > 0
    assert used(service, search)[0]["stored_byte_hours"] == 0


def test_hours_outside_of_the_times_are_left_out(service: TestClient) -> None:
    assert infer(service, ADMIN) == 200
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)

    def between(begin: datetime, end: datetime) -> int:
        times = {"from": begin.isoformat(), "to": end.isoformat()}
        return expect(service.get("/usage", params=times), 200)["items"][0]["requests"]

    assert between(now - timedelta(minutes=1), now + timedelta(hours=2)) == 1
    assert between(hour - timedelta(days=30), hour - timedelta(hours=1)) == 0
    (item,) = expect(service.get("/usage", params={"group_by": "hour", "from": now.date().isoformat()}), 200)["items"]
    assert item["hour"] in (f"{hour:%Y-%m-%dT%H}:00:00Z", f"{hour + timedelta(hours=1):%Y-%m-%dT%H}:00:00Z")


def test_a_service_that_starts_again_has_what_was_counted(tmp_path: Path) -> None:
    with TestClient(create_app(settings_in(tmp_path))) as client:
        host(client, "mlp", "bases:mlp")
        for _ in range(5):
            assert infer(client, {}) == 200
        counts = counted(used(client)[0])
    with TestClient(create_app(settings_in(tmp_path))) as client:
        assert counted(used(client)[0]) == counts == (5, 10, 0, 0, 0)


def test_csv_has_a_line_for_each_group(service: TestClient) -> None:
    _, fraud = member(service, "fraud")
    assert [infer(service, who) for who in (fraud, ADMIN)] == [200] * 2
    answer = service.get("/usage", params={"group_by": "team,adapter"}, headers={"accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(StringIO(answer.text, newline="")))
    assert [(line["team"], line["adapter"], line["requests"], line["rows"]) for line in lines] == [
        ("default", "", "1", "2"),
        ("fraud", "", "1", "2"),
    ]
    items = used(service, ADMIN, "team,adapter")
    assert [list(line) for line in lines] == [list(item) for item in items]


@pytest.mark.parametrize("accept", ["text/csv;q=0", "application/json, text/csv; q=0.0", "*/*", "text/csvx"])
def test_csv_that_is_refused_or_not_named_is_not_sent(service: TestClient, accept: str) -> None:
    answer = service.get("/usage", headers={"accept": accept})
    assert answer.headers["content-type"] == "application/json"


def test_everything_that_is_wrong_with_the_query_is_said(service: TestClient) -> None:
    query = {"group_by": "team,colour,team", "from": "2026-11-02", "to": "2026-11-01T00:00:00Z"}
    problem = expect_problem(service.get("/usage", params=query), 400, "malformed")
    assert places(problem) == ["query.group_by", "query.group_by", "query.from"]
    query = {"group_by": "", "from": "yesterday", "to": "5"}
    problem = expect_problem(service.get("/usage", params=query), 400, "malformed")
    assert places(problem) == ["query.group_by", "query.from", "query.to"]


def test_nothing_but_one_empty_sum_where_nothing_was_used(service: TestClient) -> None:
    assert used(service, ADMIN, "team") == []
    (item,) = used(service, ADMIN)
    assert counted(item) == (0, 0, 0, 0, 0)


def test_usage_is_kept_for_the_days_that_the_operator_says(tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path}/registry.db"
    migrate(database_url)
    long_ago = hour_of(datetime.now(UTC)) - timedelta(days=30)
    days_ago = long_ago + timedelta(days=28)
    counts = {UsageGroup(hour, "default"): UsageCounts(requests=1) for hour in (long_ago, days_ago)}
    with closing(open_database(database_url)) as database:
        Usage(database).add("another", UsageBatch(1, counts))
    with TestClient(create_app(settings_in(tmp_path, usage_retention=7))):
        pass
    with TestClient(create_app(settings_in(tmp_path))) as client:
        (item,) = used(client, by="hour")
        assert item["hour"] == f"{days_ago:%Y-%m-%dT%H}:00:00Z"
