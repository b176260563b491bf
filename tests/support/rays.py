"""A small Ray with Serve and nothing of ours on it, in the process that runs the tests."""

import os
from collections.abc import Generator
from contextlib import contextmanager

import ray
from ray import serve


@contextmanager
def running_ray() -> Generator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=8, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False)
    serve.start(proxy_location="Disabled")
    try:
        yield
    finally:
        serve.shutdown()
        ray.shutdown()
