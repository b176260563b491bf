"""Two teams with keys of their own, before one process on SQLite, two on Postgres, or the two fronts of a cluster."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
from e2e.cluster.clusters import LOOKS
from e2e.gate import Turnstile
from e2e.process import Service, until

ADMIN = {"x-api-key": "the-operators-own-key"}
TURNED, WORDS = "turned", "words"
"""The base models: one whose forwards pass a turnstile, one that writes."""
ROW = [1.0, 2.0, 3.0, 4.0]
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    TURNED: {"peft_type": "LORA", "r": 2, "target_modules": ["first", "second"], "init_lora_weights": False},
    WORDS: {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "init_lora_weights": False},
}
MAX_QUEUE = 8
SHOWN_ONCE = {"date", "x-request-id", "server-timing"}
"""Headers that no two answers have alike."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What of an answer may tell two things apart."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Member:
    """One of a team, at one of the doors."""

    door: Service
    team: str
    key: Mapping[str, str]

    def at(self, door: Service) -> "Member":
        return replace(self, door=door)

    def send(self, method: str, path: str, json: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        return self.door.http.request(method, path, json=json, headers={**self.key, **(headers or {})})

    def expect(self, status: int, method: str, path: str, json: Any = None) -> Any:
        answer = self.send(method, path, json)
        assert answer.status_code == status, (method, path, answer.text)
        return answer.json() if answer.content else None

    def create(self, name: str, model: str = TURNED, seed: int = 1) -> httpx.Response:
        body = {"name": name, "config": CONFIGS[model], "seed": seed}
        return self.send("POST", f"/models/{model}/adapters", body)

    def repeat_version(self, name: str) -> None:
        """The adapter gets another version with the bytes of its newest one."""
        path = f"/adapters/{name}/state"
        headers = {**self.key, "content-type": "application/vnd.safetensors"}
        state = self.send("GET", path).content
        answer = self.door.http.put(path, params={"force": True}, content=state, headers=headers)
        assert answer.status_code == 201, answer.text

    def infer(self, adapter: Any = None, rows: int = 1) -> httpx.Response:
        return self.send("POST", f"/models/{TURNED}/infer", {"adapter": adapter, "inputs": {"x": [ROW] * rows}})

    def write(self, model: str = WORDS, prompt: str = "a b c", length: int = 4, **more: Any) -> httpx.Response:
        """By OpenAI's API."""
        body = {"model": model, "prompt": prompt, "max_tokens": length, "temperature": 0, **more}
        return self.send("POST", "/v1/completions", body)

    def answer(self, method: str, path: str, json: Any = None) -> Answer:
        found = self.send(method, path, json)
        body = {**found.json(), "request_id": None} if found.content and isinstance(found.json(), dict) else found.text
        headers = {name: value for name, value in found.headers.items() if name not in SHOWN_ONCE}
        return Answer(found.status_code, headers, str(body))

    @property
    def use(self) -> Mapping[str, Any]:
        """What the team takes now of what may be limited."""
        return self.expect(200, "GET", f"/teams/{self.team}")["use"]

    def usage(self, by: str) -> Sequence[Mapping[str, Any]]:
        return self.expect(200, "GET", f"/usage?group_by={by}")["items"]


@dataclass(frozen=True, slots=True)
class House:
    """Each of its `doors` is a process, or a cluster's proxy before several; all are one service. Forwards of one of
    the models pass `turnstile`."""

    doors: Sequence[Service]
    turnstile: Turnstile

    @property
    def admin(self) -> Member:
        return Member(self.doors[0], "default", ADMIN)

    def until_known(self, look: Callable[[], Any], value: Any) -> None:
        """Returns once every process behind a door says so."""
        until(lambda: {look() for _ in range(LOOKS)} == {value})

    def member(self, team: str, role: str = "publisher", **limits: Any) -> Member:
        """One of a new team."""
        admin = self.admin
        admin.expect(201, "POST", "/teams", {"name": team, "limits": limits})
        made = admin.expect(201, "POST", "/keys", {"name": "test", "role": role, "team": team})
        return Member(self.doors[0], team, {"x-api-key": made["key"]})

    def waiting(self, door: Service) -> int:
        """How many requests are in the turned model's queue, without those that run."""
        metrics = door.http.get("/metrics", headers=ADMIN).text
        (number,) = re.findall(rf'^adapter_service_waiting_requests{{model="{TURNED}"}} (\S+)$', metrics, re.MULTILINE)
        return int(float(number))

    def knows(self, member: Member, adapter: str) -> None:
        """Return once every door can answer with the adapter."""
        for door in self.doors:
            until(lambda door=door: member.at(door).send("GET", f"/v1/models/{adapter}").status_code == 200)
