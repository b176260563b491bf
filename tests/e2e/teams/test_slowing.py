"""A team that floods a model: the others' requests are answered in their turn."""

from concurrent.futures import Future, ThreadPoolExecutor

from e2e.process import until
from e2e.teams.two_teams import MAX_QUEUE, House, Member

ROWS = 64
"""As many as a forward has at most."""
FAR = 10_000
"""What a team with limits has in flight is known to all processes."""


def flood(members: ThreadPoolExecutor, member: Member, requests: int) -> list[Future[int]]:
    """Large requests, which are in the model's queue on return."""
    answers = [members.submit(lambda: member.infer(rows=ROWS).status_code) for _ in range(requests)]
    until(lambda: member.use["rows_in_flight"] == requests * ROWS)
    return answers


def test_a_quiet_team_passes_those_that_wait_of_a_flooding_one(closed: House) -> None:
    loud, quiet = closed.member("loud", rows_in_flight=FAR), closed.member("quiet")
    closed.turnstile.open()
    assert loud.infer(rows=ROWS).status_code == 200  # at its first rows a model's forward runs more than once
    closed.turnstile.close()
    with ThreadPoolExecutor(MAX_QUEUE + 1) as callers:
        flooding = flood(callers, loud, MAX_QUEUE)
        asked = callers.submit(lambda: quiet.infer().status_code)
        until(lambda: closed.waiting(quiet.door) == MAX_QUEUE)
        # One forward is under way already, and one turn may be the other team's.
        for _ in range(3):
            closed.turnstile.let_one_pass()
        assert asked.result() == 200
        assert sum(answer.done() for answer in flooding) <= 3
        closed.turnstile.open()
        assert {answer.result() for answer in flooding} == {200}


def test_a_full_queue_is_full_for_the_team_that_fills_it(closed: House) -> None:
    loud, quiet = closed.member("filling"), closed.member("waiting", rows_in_flight=FAR)
    with ThreadPoolExecutor(2 * MAX_QUEUE + 2) as callers:
        flooding = [callers.submit(lambda: loud.infer().status_code) for _ in range(2 * MAX_QUEUE)]
        until(lambda: any(answer.done() for answer in flooding))
        asked = [callers.submit(lambda: quiet.infer().status_code) for _ in range(2)]
        until(lambda: quiet.use["rows_in_flight"] == 2)
        closed.turnstile.open()
        assert {answer.result() for answer in asked} == {200}
        assert {answer.result() for answer in flooding} == {200, 429}


def test_texts_of_a_quiet_team_are_written_beside_those_of_a_flooding_one(shared_house: House) -> None:
    loud, quiet = shared_house.member("writing-much"), shared_house.member("writing")
    for door in shared_house.doors:
        with ThreadPoolExecutor(MAX_QUEUE) as callers:
            flooding = [callers.submit(loud.at(door).write, length=24) for _ in range(MAX_QUEUE - 2)]
            alone = [quiet.at(door).write(length=2) for _ in range(3)]
        assert {answer.status_code for answer in alone} == {200}
        assert {answer.result().status_code for answer in flooding} == {200}
