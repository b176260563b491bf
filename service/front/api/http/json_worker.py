"""A process that reads large JSON for the service: reading a body of 16 MB keeps Python's lock for seconds, and here
nobody else waits for it. Started by api/json_reader.py, over a socket of their own; it ends with the service.

It imports little, knows no setting and no secret, and answers each body with a value or with why it is none.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from service.front.api.http.json_text import parse_json, read, read_call
from service.front.api.v2.json_tensors import read_inference

READERS: dict[bytes, Callable[[bytes], Any]] = {
    b"object": parse_json,
    b"call": read_call,
    b"inference": read_inference,
}
"""By what the first message of two asks for; the second one is the body."""

_NICENESS = 5
"""Lower than the service's own work where the cores are busy."""


def serve(connection: Connection) -> None:
    """Until the other side closes."""
    while True:
        try:
            reader = READERS[connection.recv_bytes()]
            connection.send(read(reader, connection.recv_bytes()))
        except (EOFError, OSError):
            return


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the service ends this process itself
    gc.disable()  # JSON's values hold no circles, and a collection would look at millions of them again and again
    os.nice(_NICENESS)
    serve(Connection(int(sys.argv[1])))
