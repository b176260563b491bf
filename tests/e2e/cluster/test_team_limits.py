"""A team's limits hold over all fronts, within the documented tolerance."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from e2e.cluster.clusters import Cluster
from e2e.replicas.pair import infer

pytestmark = pytest.mark.deep  # a real Ray

FRONTS, PER_MINUTE, ASKED = 2, 30, 90


def test_of_all_fronts_at_most_what_each_had_left_passes(cluster: Cluster) -> None:
    limits = {"requests_per_minute": PER_MINUTE}
    cluster.http.post("/teams", json={"name": "burst", "limits": limits}).raise_for_status()
    body = {"name": "test", "role": "caller", "team": "burst"}
    headers = {"x-api-key": cluster.http.post("/keys", json=body).json()["key"]}

    begun = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: infer(cluster, None, **headers).status_code, range(ASKED)))
    refilled = PER_MINUTE * (time.monotonic() - begun) / 60

    assert set(statuses) <= {200, 429}
    assert PER_MINUTE <= statuses.count(200) <= FRONTS * PER_MINUTE + refilled
