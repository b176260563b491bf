"""What a host's process does first, however it was started: limit itself, then call its entry."""

import ctypes
import importlib
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

import torch

from service.transports.processes.launch import Entry, Launch, receive_launch

_PR_SET_PDEATHSIG = 1
_FIRST_TO_BE_KILLED = "1000"

log = logging.getLogger(__name__)


def main() -> NoReturn:
    """Of `python -m … SOCKET PARENT`."""
    descriptor, parent = map(int, sys.argv[1:])
    os.set_inheritable(descriptor, False)
    run_host(socket.socket(fileno=descriptor), parent)


def run_host(connection: socket.socket, parent: int) -> NoReturn:
    """Run what is ordered over `connection` and end this process, whatever other threads of it still do."""
    code = 1
    try:
        end_with(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the front ends its hosts, once they have answered
        launch = receive_launch(connection)
        if launch is not None:
            _limit(launch)
            _entry(launch)(connection, launch.order)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        log.critical("a host's process ended", exc_info=True)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def end_with(parent: int) -> None:
    """From now on the kernel kills this process when the thread that started it ends, even inside a native call."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if os.getppid() != parent:  # it ended before the kernel knew of our wish
        os._exit(1)


def _limit(launch: Launch) -> None:
    Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_BE_KILLED)
    if launch.memory_bytes is not None:
        # Of addresses (RLIMIT_AS) CUDA and allocators reserve many times what they use.
        resource.setrlimit(resource.RLIMIT_DATA, (launch.memory_bytes, launch.memory_bytes))
    torch.set_num_threads(launch.threads)
    sys.path[:] = launch.paths


def _entry(launch: Launch) -> Entry:
    module, _, function = launch.entry.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    main()
