"""Wrong keys, counted by address."""

from service.front.access import failed_logins
from service.front.access.failed_logins import MOST_PER_MINUTE, FailedLogins


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_after_too_many_failures_an_address_gets_the_seconds_to_wait() -> None:
    clock = Clock()
    logins = FailedLogins(clock)
    assert [logins.count("10.0.0.1") for _ in range(MOST_PER_MINUTE)] == [None] * MOST_PER_MINUTE
    clock.now = 20.5
    assert logins.count("10.0.0.1") == 40
    assert logins.count("10.0.0.2") is None
    clock.now = 60.0
    assert logins.count("10.0.0.1") is None


def test_a_network_of_ipv6_is_one_address() -> None:
    logins = FailedLogins(Clock())
    for number in range(MOST_PER_MINUTE):
        assert logins.count(f"2001:db8::{number}") is None
    assert logins.count("2001:db8::ffff") == 60
    assert logins.count("2001:db8:0:1::1") is None
    assert logins.count("::ffff:10.0.0.1") is None


def test_only_so_many_addresses_are_kept() -> None:
    logins = FailedLogins(Clock())
    for _ in range(MOST_PER_MINUTE):
        logins.count("first")
    for number in range(failed_logins.MOST_ADDRESSES):
        logins.count(f"other-{number}")
    assert logins.count("first") is None
