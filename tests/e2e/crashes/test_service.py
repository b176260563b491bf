"""The whole service, killed while it stores an upload: what was acknowledged answers afterwards, to the bit."""

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path

import httpx
import pytest
import torch
from e2e.adapters import SAFETENSORS, state, upload
from e2e.crashes.serve import DIE_AT
from e2e.crashes.uploads import CONFIG, computed, weights
from e2e.process import Service
from safetensors.torch import load, save
from torch import Tensor

MODEL, SOURCE = "mlp", {"kind": "python", "factory": "bases:mlp"}
ROWS = torch.tensor([[1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, 0.0, 2.0]])
MORTAL = "e2e.crashes.serve:main"


def answer(http: httpx.Client, reference: str) -> Tensor:
    asked = http.post(
        f"/models/{MODEL}/infer",
        params={"adapter": reference},
        content=save({"x": ROWS}),
        headers={"Content-Type": SAFETENSORS, "Accept": SAFETENSORS},
    )
    assert asked.status_code == 200, asked.text
    return load(asked.content)["output"]


def put_state(http: httpx.Client, name: str, blob: bytes) -> httpx.Response:
    return http.put(f"/adapters/{name}/state", content=blob, headers={"Content-Type": SAFETENSORS})


class Told:
    """What callers were told of their uploads, and what they have tried."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._tried: dict[str, bytes] = {}
        self._versions: dict[str, bytes] = {}

    def create(self, name: str, seed: int) -> None:
        self._note(self._try(seed, lambda blob: upload(self._http, MODEL, name, CONFIG, blob)))

    def put(self, name: str, seed: int) -> None:
        self._note(self._try(seed, lambda blob: put_state(self._http, name, blob)))

    def require_whole(self) -> None:
        """All that was told is there, and whatever else is there is something that was tried, to the bit."""
        found: dict[str, bytes] = {}
        for adapter in self._http.get("/adapters", params={"limit": 100}).json()["items"]:
            for version in adapter["versions"]:
                reference = f"{adapter['name']}@{version['version']}"
                found[reference] = blob = self._tried[version["digest"]]
                assert state(self._http, adapter["name"], version=version["version"]) == blob
                assert torch.allclose(answer(self._http, reference), computed(ROWS, blob), rtol=1e-5, atol=1e-5)
        assert found.items() >= self._versions.items()
        self._versions = found

    def _try(self, seed: int, send: Callable[[bytes], httpx.Response]) -> httpx.Response:
        blob = weights(seed)
        self._tried[f"sha256:{sha256(blob).hexdigest()}"] = blob
        return send(blob)

    def _note(self, answered: httpx.Response) -> None:
        made = answered.json()
        if answered.status_code == 200:  # it was committed before the kill, though its caller was never told
            assert made["unchanged"], answered.text
            assert self._versions[made["reference"]] == self._tried[made["digest"]]
            return
        assert answered.status_code == 201, answered.text
        assert made["reference"] not in self._versions, "a version's number was given twice"
        self._versions[made["reference"]] = self._tried[made["digest"]]


@pytest.fixture
def service(database_url: str, blob_url: str, tmp_path: Path) -> Iterator[Service]:
    directory = tmp_path / "service"
    directory.mkdir()
    service = Service(directory, tmp_path / "no-models")
    service.environment |= {
        "ADAPTER_SERVICE_DATABASE_URL": database_url,
        "ADAPTER_SERVICE_BLOB_URL": blob_url,
    }
    service.start_preloaded(MORTAL).register(MODEL, SOURCE)
    yield service
    service.close()


@pytest.mark.parametrize(
    ("dialect", "blob_url", "moments"),
    [
        ("sqlite", "directory", ("INSERT INTO versions", "committed")),
        pytest.param(
            "postgres",
            "s3",
            ("put object", "object put", "INSERT INTO versions", "commit", "committed"),
            marks=pytest.mark.deep,
        ),
    ],
    indirect=["dialect", "blob_url"],
)
def test_a_kill_in_the_middle_of_an_upload_harms_nothing(service: Service, moments: Sequence[str]) -> None:
    told = Told(service.http)
    told.create("tone", seed=0)
    for seed, moment in enumerate(moments, start=1):
        (service.directory / DIE_AT).write_text(moment)
        with pytest.raises(httpx.TransportError):
            told.put("tone", seed)
        assert service.wait_for_the_end() == -signal.SIGKILL
        (service.directory / DIE_AT).unlink()
        service.start_preloaded(MORTAL).wait_until_ready()
        told.require_whole()
        told.put("tone", seed)  # who tries again gets a version: the one that was committed, or one of its own
        told.require_whole()


@pytest.mark.deep
def test_kills_at_any_moment_under_load_harm_nothing(service: Service) -> None:
    told, chance, seeds = Told(service.http), random.Random(0), count()

    def upload_until_the_end(name: str) -> None:
        with suppress(httpx.TransportError):
            told.create(name, next(seeds))
            while True:
                told.put(name, next(seeds))

    for attempt in range(8):
        with ThreadPoolExecutor(3) as callers:
            uploads = [callers.submit(upload_until_the_end, f"tone-{attempt}-{caller}") for caller in range(3)]
            time.sleep(chance.uniform(0.1, 1.5))
            service.kill()
        for one in uploads:
            one.result()
        service.start_preloaded(MORTAL).wait_until_ready()
        told.require_whole()
