"""How a replica gets its host."""

import logging

from service.protocol.errors import HostLost
from service.protocol.host import ModelHost, Transport
from service.protocol.types import BuildOrder, Built

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""A host that has died so often while it was building isn't started again."""


def build_host(transport: Transport, order: BuildOrder, timeout_s: float) -> tuple[ModelHost, Built]:
    """A host with the base model in memory. Raises what its build raises, and `HostLost` where its hosts died."""
    for deaths in range(1, MOST_DEATHS + 1):
        host = transport.start(order.base.id)
        try:
            host.open(order).result(timeout_s)
            return host, host.build().result(timeout_s)
        except HostLost as error:
            log.warning("the host of model %s died while it was building: %s", order.base.id, error.detail)
            if deaths == MOST_DEATHS:
                raise
        except BaseException:
            host.kill("its build failed")
            raise
    raise AssertionError("the loop returns or raises")
