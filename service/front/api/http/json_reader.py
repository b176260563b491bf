"""JSON bodies as values, without holding anybody up: small ones on the spot, large ones in a process of their own.

Python's lock is held while a text is read, so a thread alone doesn't help: 16 MB of numbers would stop every caller.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from anyio import CapacityLimiter
from starlette.concurrency import run_in_threadpool

from models_registry.errors import Unavailable
from service.front.api.http.json_text import MAX_VALUES, Read, parse_json, read, read_call
from service.front.api.problems import MALFORMED, TOO_LARGE, Refused
from service.front.api.v2.json_tensors import read_inference

AT_ONCE = 64 * 1024
IN_A_THREAD = 256 * 1024
"""Bytes. Up to the first a text is read before a thread could begin; up to the second it keeps the lock for some ms."""
_THREADS = 2
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "TZ", "TMPDIR")
"""What the process is given of the environment, which holds the database's address and keys."""


class JsonReader:
    """Starts its process with the first body that needs it. Raises `Refused` (400) for what is no JSON, and (413) where
    a large body holds more than `MAX_VALUES` values that are no numbers of a tensor; `Unavailable` where the process
    has ended over it."""

    def __init__(self) -> None:
        self._threads = CapacityLimiter(_THREADS)
        self._turn = CapacityLimiter(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    async def read(self, body: bytes) -> Any:
        """As `parse_json` does."""
        return await self._read(body, b"object", parse_json)

    async def read_call(self, body: bytes) -> Any:
        """As `json_text.read_call` does."""
        return await self._read(body, b"call", read_call)

    async def read_inference(self, body: bytes) -> Any:
        """As `json_tensors.read_inference` does."""
        return await self._read(body, b"inference", read_inference)

    def close(self) -> None:
        """End the process. The reader can be used on, and starts another one then."""
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if process is not None:
            process.kill()  # first: a body that it reads just now is then answered
            process.wait()
        if connection is not None:
            connection.close()

    async def _read(self, body: bytes, name: bytes, reader: Callable[[bytes], Any]) -> Any:
        if len(body) <= AT_ONCE:
            return _value_of(read(reader, body))
        if len(body) <= IN_A_THREAD:
            async with self._threads:
                return _value_of(await run_in_threadpool(read, reader, body))
        async with self._turn:
            return _value_of(await run_in_threadpool(self._ask, name, body))

    def _ask(self, name: bytes, body: bytes) -> Read:
        connection = self._connection or self._start()
        try:
            connection.send_bytes(name)
            connection.send_bytes(body)
            return connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise Unavailable(
                "The process that reads large JSON has ended; try again, or send less at once."
            ) from error

    def _start(self) -> Connection:
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(  # noqa: S603 - nothing of a caller's stands in the command
                [sys.executable, "-P", "-m", "service.front.api.http.json_worker", str(its.fileno())],
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                pass_fds=(its.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        return self._connection


def _value_of(done: Read) -> Any:
    if done.malformed is not None:
        raise Refused(MALFORMED, done.malformed)
    if done.crowded:
        raise Refused(TOO_LARGE, f"The JSON holds more than {MAX_VALUES} values that are no numbers of a tensor.")
    return done.value
