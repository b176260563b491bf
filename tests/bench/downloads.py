"""States over HTTP beside what a plain file server makes of the same files: Starlette's, and the standard library's.

Each of ours is verified first. Eight callers, each in a thread with a socket of its own.
"""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.figures import Figure, medians
from tests.bench.minilm import ADAPTERS, host, inject
from tests.bench.processes import our_service, peer
from tests.e2e.process import until
from tests.support.ports import hold_port, number_of

CALLERS, DOWNLOADS, ROUNDS = 8, 160, 7
GOAL = 1.5
MODEL = "float32"


def downloading(directory: Path) -> Iterator[Figure]:
    with TemporaryDirectory() as folder, our_service(directory.parent.resolve()) as service:
        host(service, MODEL)
        names = [f"a{number}" for number in range(ADAPTERS)]
        inject(service, MODEL, names)
        size = 0
        for name in names:
            state = service.http.get(f"/adapters/{name}/state").content
            (Path(folder) / name).write_bytes(state)
            size = len(state)
        files = [f"/{name}" for name in names]
        with peer("tests.bench.file_server:app", {"BENCH_FILES": folder}) as starlette, _http_server(folder) as plain:
            works: dict[str, Callable[[], object]] = {
                "ours": partial(_get_all, service.port, [f"/adapters/{name}/state" for name in names]),
                "starlette": partial(_get_all, starlette, files),
                "plain": partial(_get_all, plain, files),
                "sha256": partial(_hash_all, [Path(folder) / name for name in names]),
            }
            for work in works.values():
                work()
            taken = {name: seconds / DOWNLOADS for name, seconds in medians(works, ROUNDS).items()}
    rate = size / taken["ours"] / 1e6
    work = f"a state of {size / 1e6:.1f} MB, {CALLERS} callers ({1 / taken['ours']:.0f}/s, {rate:.0f} MB/s)"
    yield Figure(work, "Starlette's file server", taken["ours"], taken["starlette"], GOAL)
    yield Figure(work, "python -m http.server", taken["ours"], taken["plain"], GOAL)
    limit = taken["plain"] + taken["sha256"]
    yield Figure(work, "http.server and a sha256", taken["ours"], limit, GOAL)


@contextmanager
def _http_server(folder: str) -> Generator[int]:
    with hold_port() as held:
        port = number_of(held)
        command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: _listens(port), lambda: process.poll() is None)
                yield port
            finally:
                process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _hash_all(files: Sequence[Path]) -> None:
    for number in range(DOWNLOADS):
        with files[number % len(files)].open("rb") as file:
            hashlib.file_digest(file, "sha256")


def _get_all(port: int, paths: Sequence[str]) -> None:
    """Each on a connection of its own, as the standard library's server has it."""
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(partial(_get, port), [paths[number % len(paths)] for number in range(DOWNLOADS)]))


def _get(port: int, path: str) -> None:
    buffer = bytearray(1 << 18)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        got = connection.recv_into(buffer)
        head, _, body = bytes(buffer[:got]).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        left = length - len(body)
        while left > 0 and (got := connection.recv_into(buffer)):
            left -= got
    if left or b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(head.decode())
