"""A rate, by a clock that the test moves."""

import pytest

from service.front.admission.token_bucket import TokenBucket


def test_a_full_bucket_gives_its_capacity_at_once_and_no_more() -> None:
    bucket = TokenBucket(60, now=0)
    bucket.spend(60, now=0)
    assert bucket.wait_s(1, now=0) == pytest.approx(1)
    assert bucket.wait_s(30, now=10) == pytest.approx(20)
    assert bucket.wait_s(30, now=30) == 0


def test_what_is_refilled_never_exceeds_the_capacity() -> None:
    bucket = TokenBucket(60, now=0)
    bucket.spend(10, now=0)
    assert bucket.level(now=5) == pytest.approx(55)
    assert bucket.level(now=1000) == 60
    bucket.spend(-30, now=1000)
    assert bucket.level(now=1000) == 60


def test_what_was_charged_too_little_is_a_debt() -> None:
    bucket = TokenBucket(60, now=0)
    bucket.spend(90, now=0)
    assert bucket.level(now=0) == -30
    assert bucket.wait_s(1, now=0) == pytest.approx(31)
    assert bucket.full_s(now=0) == pytest.approx(90)


def test_more_than_it_ever_holds_never_passes() -> None:
    bucket = TokenBucket(60, now=0)
    assert bucket.wait_s(61, now=0) == 60
    assert bucket.wait_s(61, now=1000) == 60


def test_a_bucket_of_nothing_lets_nothing_pass() -> None:
    bucket = TokenBucket(0, now=0)
    assert bucket.wait_s(1, now=1000) == 60
    assert bucket.wait_s(0, now=0) == 0
    assert bucket.full_s(now=0) == 0


def test_another_capacity_keeps_what_is_left() -> None:
    bucket = TokenBucket(60, now=0)
    bucket.spend(50, now=0)
    bucket.resize(600, now=0)
    assert bucket.level(now=0) == 10
    assert bucket.level(now=1) == pytest.approx(20)
    bucket.resize(5, now=1)
    assert bucket.level(now=1) == 5


def test_what_all_have_left_is_less_what_is_not_reported_yet() -> None:
    bucket = TokenBucket(60, now=0)
    bucket.spend(10, now=0)
    assert bucket.take_unreported() == 10
    bucket.spend(5, now=0)
    bucket.follow(30, now=0)
    assert bucket.level(now=0) == 25
    assert bucket.take_unreported() == 5
    bucket.put_back_unreported(5)
    assert bucket.take_unreported() == 5
