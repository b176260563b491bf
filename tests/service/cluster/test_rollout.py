"""What Serve is asked for, so that its applications are what the registry says; without a Ray."""

from dataclasses import replace
from datetime import UTC, datetime

from models_registry.records import BaseModel, PythonSource, ReplicaResources
from service.cluster.applications import registration_of
from service.cluster.rollout import Rollout

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
MORE = ReplicaResources(2, 4)


def base(id: str) -> BaseModel:
    return BaseModel(id, PythonSource("bases:mlp"), None, None, None, None, True, CREATED)


A, B, C = (base(id) for id in "abc")


class Serve:
    """Applications by their names, with what each was given last. Those that were given something else start anew."""

    def __init__(self) -> None:
        self.given: dict[str, tuple[str, BaseModel]] = {}
        self.starting: set[str] = set()
        self.asked: list[str] = []


class Code:
    """One code's view of it, as `Applications` is."""

    def __init__(self, serve: Serve, code: str) -> None:
        self._serve = serve
        self._code = code

    def present(self) -> dict[str, str]:
        return {registration_of(base): name for name, (_, base) in self._serve.given.items()}

    def run(self, base: BaseModel, name: str | None = None) -> str:
        name = name or base.id
        self._serve.asked.append(name)
        if self._serve.given.get(name) != (self._code, base):
            self._serve.starting.add(name)
        self._serve.given[name] = self._code, base
        return name

    def is_running(self, application: str) -> bool:
        return application not in self._serve.starting

    def delete(self, application: str) -> None:
        del self._serve.given[application]


def started(serve: Serve, code: str, *bases: BaseModel) -> Rollout:
    rollout = Rollout(Code(serve, code))
    rollout.follow(bases)
    serve.starting.clear()
    serve.asked.clear()
    return rollout


def test_applications_are_what_is_hosted() -> None:
    serve = Serve()
    rollout = started(serve, "old", A, B)
    assert serve.given.keys() == {"a", "b"}
    rollout.follow([B, C])
    assert serve.given.keys() == {"b", "c"}
    assert serve.asked == ["c"]


def test_other_resources_are_given_at_once_and_only_once() -> None:
    serve = Serve()
    rollout = started(serve, "old", A, B)
    for _ in range(2):
        rollout.follow([replace(A, resources=MORE), B])
    assert serve.asked == ["a"]
    assert serve.given["a"][1].resources == MORE


def test_one_that_follows_a_crashed_one_replaces_nothing() -> None:
    serve = Serve()
    started(serve, "old", A, B)
    again = Rollout(Code(serve, "old"))
    again.follow([A, replace(B, resources=MORE)])
    assert serve.starting == {"b"}  # which was changed while nobody looked
    assert not again.is_over([A, replace(B, resources=MORE)])
    serve.starting.clear()
    assert again.is_over([A, B])


def test_new_code_is_brought_to_one_model_after_the_other() -> None:
    serve = Serve()
    started(serve, "old", A, B, C)
    rollout = Rollout(Code(serve, "new"))
    for number, expected in enumerate("abc", 1):
        for _ in range(2):
            rollout.follow([A, B, C])
            assert serve.starting == {expected}
            assert len(serve.asked) == number
            assert not rollout.is_over([A, B, C])
        serve.starting.clear()
    assert rollout.is_over([A, B, C])
    assert {code for code, _ in serve.given.values()} == {"new"}


def test_a_model_that_never_gets_its_replicas_holds_up_no_change() -> None:
    serve = Serve()
    started(serve, "old", A, B)
    serve.starting.add("a")
    rollout = Rollout(Code(serve, "new"))
    rollout.follow([A, B])
    assert serve.starting == {"a", "b"}
    rollout.follow([A, replace(B, resources=MORE)])
    assert serve.given["b"][1].resources == MORE
