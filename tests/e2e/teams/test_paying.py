"""What each of two teams used is what it sent, to the call and the token, whichever process it asked."""

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from e2e.process import until
from e2e.teams.two_teams import House, Member

COUNTED = ("requests", "errors", "rows", "prompt_tokens", "generated_tokens")


def send_all(house: House, member: Member, times: int) -> Counter[str]:
    """Calls by both APIs at every door, and what they come to by their answers."""
    due = Counter[str]()
    for door in house.doors:
        caller = member.at(door)
        for _ in range(times):
            assert caller.infer(None, rows=3).status_code == 200
            assert caller.infer("absent").status_code == 404
            due.update(requests=1, rows=3, errors=1)
            usages = [caller.write(length=3).json()["usage"], streamed(caller)]
            due.update(requests=2, rows=2)
            for usage in usages:
                due.update(prompt_tokens=usage["prompt_tokens"], generated_tokens=usage["completion_tokens"])
    return due


def counted(member: Member, due: Counter[str]) -> Mapping[str, Any] | None:
    """The team's use, once whoever is asked has heard of so many calls."""
    (used,) = member.usage("team")
    return used if used["requests"] + used["errors"] >= due["requests"] + due["errors"] else None


def streamed(member: Member) -> dict[str, int]:
    """The usage that the last event of a stream tells."""
    answer = member.write(length=5, stream=True, stream_options={"include_usage": True})
    assert answer.status_code == 200, answer.text
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return json.loads(events[-1])["usage"]


def test_each_team_pays_for_exactly_what_it_sent(shared_house: House) -> None:
    members = [shared_house.member(name) for name in ("paying", "paying-less")]
    with ThreadPoolExecutor(2) as callers:
        dues = list(callers.map(send_all, [shared_house] * 2, members, [6, 2]))
    for member, due in zip(members, dues, strict=True):
        for door in shared_house.doors:
            asked = member.at(door)
            used = until(lambda asked=asked, due=due: counted(asked, due))
            assert {name: used[name] for name in COUNTED} == dict(due)
            assert {one["key"] for one in asked.usage("key")} == {member.key["x-api-key"].split("_")[1]}


def test_who_uses_a_shared_adapter_pays_for_it(shared_house: House) -> None:
    sharing, using = shared_house.member("sharing"), shared_house.member("using")
    assert sharing.create("common").status_code == 201
    sharing.expect(200, "PATCH", "/adapters/common", {"visibility": "shared"})
    shared_house.knows(using, "sharing:common")
    for door in shared_house.doors:
        assert using.at(door).infer("sharing:common@1", rows=2).status_code == 200
    until(lambda: sum(one["requests"] for one in using.usage("adapter")) == len(shared_house.doors))
    (used,) = using.usage("adapter")
    assert (used["adapter"], used["rows"]) == ("sharing:common", 2 * len(shared_house.doors))
    assert [one["requests"] for one in sharing.usage("adapter")] in ([], [0])
