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


def counted(member: Member, by: str, calls: int) -> Mapping[str, Any] | None:
    """What there is of the team's use, in one piece, once whoever is asked has heard of so many calls."""
    used = member.usage(by)
    return used[0] if used and used[0]["requests"] + used[0]["errors"] >= calls else None


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
            asked, calls = member.at(door), due["requests"] + due["errors"]
            of_team, of_key = (
                until(lambda asked=asked, by=by, calls=calls: counted(asked, by, calls)) for by in ("team", "key")
            )
            assert {name: of_team[name] for name in COUNTED} == dict(due)
            assert of_key["key"] == member.key["x-api-key"].split("_")[1]


def test_who_uses_a_shared_adapter_pays_for_it(shared_house: House) -> None:
    sharing, using = shared_house.member("sharing"), shared_house.member("using")
    assert sharing.create("common").status_code == 201
    sharing.expect(200, "PATCH", "/adapters/common", {"visibility": "shared"})
    shared_house.knows(using, "sharing:common")
    for door in shared_house.doors:
        assert using.at(door).infer("sharing:common@1", rows=2).status_code == 200
    used = until(lambda: counted(using, "adapter", len(shared_house.doors)))
    assert (used["adapter"], used["rows"]) == ("sharing:common", 2 * len(shared_house.doors))
    assert [one["requests"] for one in sharing.usage("adapter")] in ([], [0])
