from service.host.scheduling.team_turns import TeamTurns


def waiting(*things: str) -> TeamTurns[str]:
    """Each one's team is its first letter."""
    turns: TeamTurns[str] = TeamTurns()
    for thing in things:
        turns.add(thing[0], thing)
    return turns


def test_each_team_has_its_turn_and_its_own_order() -> None:
    turns = waiting("a1", "a2", "a3", "b1", "c1", "c2")
    popped: list[str] = []
    while turns:
        assert turns.first == next(iter(turns))
        popped.append(turns.pop())
    assert popped == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert turns.first is None


def test_one_may_be_put_before_all_others_of_its_team() -> None:
    turns = waiting("a1", "b1")
    turns.add_first("b", "b0")
    assert list(turns) == ["a1", "b0", "b1"]


def test_a_team_whose_last_one_is_removed_waits_no_more() -> None:
    turns = waiting("a1", "a2", "b1")
    turns.remove("a", "a1")
    assert set(turns.teams) == {"a", "b"}
    turns.remove("a", "a2")
    assert set(turns.teams) == {"b"}
