"""The thread on which a front's calls to other machines wait."""

import asyncio
import gc

from service.transports.loop_thread import LoopThread


def test_a_stopped_one_leaves_nothing_open_and_nothing_that_waits() -> None:
    thread = LoopThread("calls")
    waiting = thread.run(asyncio.sleep(3600))
    thread.stop()
    assert waiting.cancelled()
    del thread
    gc.collect()  # which warns of what is open
