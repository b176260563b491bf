"""One service for the module's tests, each of which has models of its own and kills their hosts."""

from collections.abc import Iterator

import pytest
from e2e.deaths.house import House
from e2e.process import Service


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    service = Service(tmp_path_factory.mktemp("house"), tmp_path_factory.mktemp("models"))
    service.environment |= {
        "ADAPTER_SERVICE_FACTORIES": "bases:*,deadly:*",
        "ADAPTER_SERVICE_FORWARD_TIMEOUT": "5",
        "ADAPTER_SERVICE_HOST_MEMORY": "1GiB",
    }
    yield House(service.start())
    service.close()
