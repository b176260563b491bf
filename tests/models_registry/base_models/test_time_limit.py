"""Work that may never end: what it gives comes back, and what is too slow is made to end."""

import threading

import pytest

from models_registry.base_models.time_limit import within


def test_what_the_work_gives_or_raises_comes_back() -> None:
    assert within(60, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(60, lambda: 1 // 0)


def test_work_that_never_ends_is_ended() -> None:
    ended = threading.Event()

    def forever() -> None:
        try:
            while True:
                pass
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        within(0.01, forever)
    assert ended.wait(60)
