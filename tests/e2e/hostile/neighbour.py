"""A well-behaved caller beside an attack: one request after the other, each timed and compared with the first."""

import threading
from time import perf_counter
from typing import Any, Self

import httpx

from tests.e2e.hostile.attacks import INFER, PATIENCE_S

SAME = 1e-4
"""Rows may share a forward with others of other lengths, which rounds in another way."""


class Neighbour:
    """A context manager: inside, it asks again and again on a connection of its own."""

    def __init__(self, address: str) -> None:
        self._http = httpx.Client(base_url=address, timeout=PATIENCE_S)
        self._thread = threading.Thread(target=self._ask_on)
        self._over = threading.Event()
        self._expected = self._ask()
        self.worst_s = 0.0
        self.answers = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._http.close()

    def _ask_on(self) -> None:
        while not self._over.is_set():
            begun = perf_counter()
            try:
                found = self._ask()
            except (httpx.HTTPError, ValueError) as error:
                self.wrong.append(repr(error))
                continue
            self.worst_s = max(self.worst_s, perf_counter() - begun)
            self.answers += 1
            if max(abs(a - b) for a, b in zip(found, self._expected, strict=True)) > SAME:
                self.wrong.append("other numbers than before the attack")

    def _ask(self) -> list[float]:
        body: dict[str, Any] = {"inputs": {"text": ["A quiet neighbour."]}, "outputs": ["embedding"]}
        answer = self._http.post(INFER, json=body).raise_for_status()
        return answer.json()["outputs"]["embedding"]["data"]
