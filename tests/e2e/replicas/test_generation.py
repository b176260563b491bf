"""A caller who passes back the `X-Registry-Generation` that an answer gave never reads an older state, wherever."""

from collections.abc import Iterator, Mapping
from itertools import cycle, islice, pairwise

import httpx
import pytest
from e2e.adapters import create
from e2e.process import Service
from e2e.replicas.pair import LORA, MODEL, SOURCE, Pair, answered_by, infer, put_state

GENERATION = "X-Registry-Generation"
TURNS = 10


def passed_back(answer: httpx.Response) -> Mapping[str, str]:
    return {GENERATION: answer.headers[GENERATION]}


def turns(pair: Pair) -> Iterator[tuple[int, Service, Service]]:
    """Who writes, and who is then asked."""
    return ((number, *two) for number, two in enumerate(pairwise(islice(cycle(pair), TURNS + 1))))


def test_what_was_written_is_read_at_once(pair: Pair) -> None:
    create(pair.one.http, MODEL, "followed", LORA, seed=0)
    for number, writer, reader in turns(pair):
        written = put_state(writer, "followed", seed=number)
        assert answered_by(reader, "followed", **passed_back(written)) == written.json()["reference"]


def test_what_was_created_and_deleted_is_there_and_gone_at_once(pair: Pair) -> None:
    for number, writer, reader in turns(pair):
        name = f"fleeting-{number}"
        made = writer.http.post(f"/models/{MODEL}/adapters", json={"name": name, "config": LORA})
        assert answered_by(reader, name, **passed_back(made)) == f"{name}@1"
        deleted = reader.http.delete(f"/adapters/{name}")
        assert answered_by(writer, name, **passed_back(deleted)) == 404


def test_an_alias_that_was_moved_is_read_at_once(pair: Pair) -> None:
    create(pair.one.http, MODEL, "aliased", LORA, seed=0)
    put_state(pair.one, "aliased", seed=1).raise_for_status()
    for number, writer, reader in turns(pair):
        version = 1 + number % 2
        moved = writer.http.put("/adapters/aliased/aliases/prod", json={"version": version})
        assert answered_by(reader, "aliased@prod", **passed_back(moved)) == f"aliased@{version}"


def test_a_model_is_known_and_gone_at_once_also_to_a_process_that_has_written_since(pair: Pair) -> None:
    registered = pair.one.http.post("/models", json={"id": "fresh", "source": SOURCE})
    create(pair.other.http, MODEL, "written-since", LORA)
    assert infer(pair.other, None, "fresh", **passed_back(registered)).status_code in {200, 503}  # it may still load
    removed = pair.one.http.delete("/models/fresh")
    pair.other.http.delete("/adapters/written-since").raise_for_status()
    assert infer(pair.other, None, "fresh", **passed_back(removed)).status_code == 404


def test_a_generation_that_is_not_there_yet_is_not_answered_from_an_older_one(pair: Pair) -> None:
    refused = infer(pair.one, None, **{GENERATION: "1000000"})
    assert refused.status_code == 503
    assert refused.headers["retry-after"].isdecimal()


@pytest.mark.parametrize("generation", ["newest", "-1", "1.5"])
def test_a_generation_that_is_no_number_is_refused(pair: Pair, generation: str) -> None:
    assert infer(pair.one, None, **{GENERATION: generation}).status_code == 400
