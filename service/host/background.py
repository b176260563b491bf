"""Work on threads of their own, whose failures are their model's."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from models_registry.errors import RegistryError

T = TypeVar("T")

log = logging.getLogger(__name__)


def in_background(name: str, work: Callable[[], T]) -> Future[T]:
    """On a daemon thread: a factory that hangs must not keep the process alive."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except RegistryError as error:
            future.set_exception(error)
        except BaseException as error:  # a factory may raise anything, even SystemExit: it is its model's failure
            log.exception("%s failed", name)
            failure = RegistryError(f"{type(error).__name__}: {error}")
            failure.__cause__ = error
            future.set_exception(failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
