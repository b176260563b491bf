"""Replicas that share a machine's memory count each other."""

import os
import signal
import subprocess
import sys

from service.cluster.node_mates import NodeMates

SHOWS_ITSELF = "import sys; from service.cluster.node_mates import NodeMates; m = NodeMates(sys.argv[1], sys.argv[2]); "


def another_process(name: str, memory: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", SHOWS_ITSELF + "print('.', flush=True); sys.stdin.read()", name, memory]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b".\n"
    return process


def test_each_counts_all_that_share_its_memory_and_no_other() -> None:
    memory, gpu = f"of {os.getpid()}", f"GPU of {os.getpid()}"
    one, other, apart = NodeMates("one", memory), NodeMates("other", memory), NodeMates("one", gpu)
    assert (one.count, other.count, apart.count) == (2, 2, 1)
    other.close()
    assert one.count == 1
    for mates in (one, apart):
        mates.close()


def test_a_killed_one_is_not_counted_any_more() -> None:
    memory = f"of {os.getpid()}"
    mine = NodeMates("mine", memory)
    with another_process("theirs", memory) as process:
        assert mine.count == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert mine.count == 1
    mine.close()
