"""One team asks for more than there are threads for: the others' requests go past it, and it is told beyond a bound."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import httpx2
import pytest
from apps import LORA, Start, expect, host
from starlette.testclient import TestClient

from models_registry.errors import Conflict
from service.front.access.caller import current_caller
from service.front.admission import thread_turns
from service.front.admission.thread_turns import ALONE
from service.front.engine import Engine

ADMIN = {"x-api-key": "the-operators-own-key"}
FLOOD = 200
PATIENCE_S = 120.0
LARGE = bytes(1_100_000)
"""So that threads write it to a file."""

Ask = Callable[[httpx2.AsyncClient, dict[str, str]], Coroutine[Any, Any, httpx2.Response]]
CALLS: dict[str, tuple[str, Ask]] = {
    "listing": ("adapter_lists.page", lambda http, who: http.get("/adapters", headers=who)),
    "creating": (
        "adapters.create",
        lambda http, who: http.post("/models/mlp/adapters", headers=who, json={"name": "a", "config": LORA}),
    ),
    "uploading": (
        "adapters.add_if_changed",
        lambda http, who: http.put(
            "/adapters/own/state", headers={**who, "content-type": "application/vnd.safetensors"}, content=LARGE
        ),
    ),
}


class Slow:
    """A verb of the engine's that is refused in the end: at once for the quiet team, for the loud one once it is `let`
    go."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.held = 0

    def __call__(self, *_: Any, **__: Any) -> None:
        if current_caller().team == "loud":
            self.held += 1
            self.let.wait(PATIENCE_S)
        raise Conflict("It was only a test.")


class Teams:
    """The app with two teams, asked from its own event loop."""

    def __init__(self, client: TestClient) -> None:
        self._client = client
        client.headers.update(ADMIN)
        host(client, "mlp", "bases:mlp")
        self.loud, self.quiet = self._member("loud"), self._member("quiet")
        state: Any = client.app
        self.engine: Engine = state.state.engine

    def _member(self, team: str) -> dict[str, str]:
        expect(self._client.post("/teams", json={"name": team}), 201)
        body = {"name": "test", "role": "publisher", "team": team}
        key = {"x-api-key": expect(self._client.post("/keys", json=body), 201)["key"]}
        expect(self._client.post("/models/mlp/adapters", headers=key, json={"name": "own", "config": LORA}), 201)
        return key

    def play(self, game: Callable[[httpx2.AsyncClient], Awaitable[None]]) -> None:
        async def play() -> None:
            transport = httpx2.ASGITransport(self._client.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://here") as http:
                await game(http)

        portal = self._client.portal
        assert portal is not None
        portal.call(play)


@pytest.fixture
def teams(start: Start) -> Teams:
    return Teams(start(admin_key=ADMIN["x-api-key"]))


def make_slow(teams: Teams, monkeypatch: pytest.MonkeyPatch, verb: str) -> Slow:
    service, name = verb.split(".")
    monkeypatch.setattr(getattr(teams.engine, service), name, slow := Slow())
    return slow


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("kind", CALLS)
def test_a_quiet_teams_call_is_answered_while_all_of_a_loud_ones_are_held(
    teams: Teams, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verb, ask = CALLS[kind]
    slow = make_slow(teams, monkeypatch, verb)

    async def game(http: httpx2.AsyncClient) -> None:
        flood = [asyncio.create_task(ask(http, teams.loud)) for _ in range(FLOOD)]
        await until(lambda: slow.held == ALONE)
        async with asyncio.timeout(PATIENCE_S):
            assert (await ask(http, teams.quiet)).status_code == 409
        assert not any(call.done() for call in flood)
        slow.let.set()
        assert {answer.status_code for answer in await asyncio.gather(*flood)} == {409}

    teams.play(game)


def test_beyond_a_bound_a_teams_calls_are_refused_and_no_other_teams(
    teams: Teams, monkeypatch: pytest.MonkeyPatch
) -> None:
    verb, ask = CALLS["listing"]
    slow = make_slow(teams, monkeypatch, verb)
    monkeypatch.setattr(thread_turns, "MOST_WAITING", 3)

    async def game(http: httpx2.AsyncClient) -> None:
        flood = [asyncio.create_task(ask(http, teams.loud)) for _ in range(ALONE + 3)]
        await until(lambda: slow.held == ALONE)
        refused = await ask(http, teams.loud)
        assert (refused.status_code, refused.json()["type"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) > 0
        assert "'loud'" in refused.json()["detail"]
        seen = {**teams.loud, "x-registry-generation": "999999"}  # needs a thread before the endpoint
        assert (await http.get("/adapters", headers=seen)).status_code == 429
        assert (await ask(http, teams.quiet)).status_code == 409
        assert (await http.get("/health/ready")).status_code == 200
        slow.let.set()
        assert {answer.status_code for answer in await asyncio.gather(*flood)} == {409}

    teams.play(game)
