"""What a call counts when its caller doesn't wait for it, or it is tried again."""

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress

import pytest

from models_registry.errors import NotFound, Unavailable
from models_registry.usage_records import UsageCounts
from service.front.access.caller import Caller
from service.front.services.usage_meter import UsageMeter
from service.protocol.types import BASE, HostAnswer, Used

CALLER = Caller("fraud", "caller", "k5x2m7qa")
ANSWER = HostAnswer((BASE,) * 2, {}, 1.0, 0.0, 2.0, used=(Used(2, 7, 3, 5, 0.25),))
USED = UsageCounts(rows=2, prompt_tokens=7, cached_tokens=3, generated_tokens=5, forward_s=0.25)


def total(meter: UsageMeter) -> UsageCounts:
    counts: Sequence[UsageCounts] = [one for batch in meter.held for one in batch.counts.values()]
    return sum(counts, UsageCounts())


def test_a_caller_who_left_pays_for_what_was_computed_until_then() -> None:
    meter, future = UsageMeter(), Future[HostAnswer]()
    with suppress(CancelledError), meter.call(CALLER, "m") as call:
        call.follow((BASE,), future)
        raise CancelledError
    assert total(meter) == UsageCounts(errors=1)
    future.set_result(ANSWER)  # the host says what there was
    assert total(meter) == USED + UsageCounts(errors=1)


def test_what_died_and_was_tried_again_counts_once() -> None:
    meter = UsageMeter()
    with meter.call(CALLER, "m") as call:
        for outcome in (Unavailable("the host died"), None):
            future = Future[HostAnswer]()
            call.follow((BASE,), future)
            if outcome is not None:
                future.set_exception(outcome)
            else:
                future.set_result(ANSWER)
    assert total(meter) == USED + UsageCounts(requests=1)


def test_a_call_that_never_ran_is_an_error_of_its_caller() -> None:
    meter = UsageMeter()
    with pytest.raises(NotFound), meter.call(CALLER, "m"):
        raise NotFound("There is no adapter 'tone'.")
    ((group, counts),) = meter.held[0].counts.items()
    assert (group.team, group.key, group.model, group.adapter) == ("fraud", "k5x2m7qa", "m", "")
    assert counts == UsageCounts(errors=1)
