"""A team that takes all that it may: what others take is theirs."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from e2e.process import until
from e2e.teams.two_teams import House, Member

SHARE = 1e-4
"""Of the memory for adapters: two fit."""


def created(house: House, member: Member, number: int) -> list[int]:
    """The statuses of so many creations, at all doors at once, in ascending order."""

    def create(index: int) -> int:
        return member.at(house.doors[index % len(house.doors)]).create(f"a{index}", seed=index).status_code

    with ThreadPoolExecutor(number) as callers:
        return sorted(callers.map(create, range(number)))


@pytest.mark.parametrize("limits", [{"adapters": 2}, {"stored_bytes": 1100}])
def test_a_team_stores_what_it_may_and_others_still_store(shared_house: House, limits: dict[str, Any]) -> None:
    (limit,) = limits
    full, other = shared_house.member(f"full-of-{limit}", **limits), shared_house.member(f"beside-{limit}")
    assert created(shared_house, full, 4) == [201, 201, 507, 507]
    assert created(shared_house, other, 3) == [201] * 3


def test_rows_in_flight_of_one_team_leave_others_theirs(closed: House) -> None:
    loud, quiet = closed.member("in-flight", rows_in_flight=4), closed.member("beside-it")
    with ThreadPoolExecutor(2) as callers:
        running = callers.submit(lambda: loud.infer(rows=4).status_code)
        closed.until_known(lambda: loud.use["rows_in_flight"], 4)
        refused = loud.infer()
        assert (refused.status_code, refused.json()["type"]) == (429, "limit")
        asked = callers.submit(lambda: quiet.infer(rows=5).status_code)
        until(lambda: quiet.use["rows_in_flight"] == 5)  # wherever it was asked: nobody limits it
        closed.turnstile.open()
        assert [running.result(), asked.result()] == [200, 200]
    until(lambda: loud.use["rows_in_flight"] == 0)


def test_a_rate_that_is_spent_is_spent_for_its_team_alone(shared_house: House) -> None:
    spent, other = shared_house.member("spent", requests_per_minute=0), shared_house.member("unspent")
    for door in shared_house.doors:
        native, openai = spent.at(door).infer(), spent.at(door).write()
        assert [native.status_code, openai.status_code] == [429, 429]
        assert openai.json()["error"]["code"] == "rate_limit_exceeded"
        for answer in (native, openai):
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["ratelimit"].startswith('"requests_per_minute";r=0')
        for answer in (other.at(door).infer(), other.at(door).write()):
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers


def test_a_team_over_its_share_of_memory_evicts_its_own(shared_house: House) -> None:
    crowding, quiet = shared_house.member("crowding", resident_share=SHARE), shared_house.member("quietly")
    assert quiet.create("kept").status_code == 201
    assert quiet.infer("kept").status_code == 200
    assert created(shared_house, crowding, 5) == [201] * 5
    for name in (f"a{index}" for index in range(5)):
        until(lambda name=name: crowding.infer(name).status_code == 200)
        assert crowding.use["resident_share"] <= SHARE
    assert crowding.infer([f"a{index}" for index in range(5)], rows=5).status_code == 507
    assert quiet.expect(200, "GET", "/adapters/kept")["residency"] == "resident"
