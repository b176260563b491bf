"""A data scientist's, an application developer's and an operator's day, as the documentation tells them."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from apps import RANDOM_LORA
from e2e.documents import ADDRESS, blocks_of
from e2e.process import ROOT, Service

from service.client import Client, Unauthorized

ROWS = np.array([[1.0, 2.0, 3.0, 4.0]], "f4")


def test_a_data_scientist_trains_pushes_rolls_out_and_back(service: Service, demo_models: Path, tmp_path: Path) -> None:
    page = code_of("guides/from-training-to-production.md", service)
    here = [text.replace("/models/", f"{demo_models}/") for text in page]
    train, trained, tried, again, rolled, pulled, loaded = here
    (tmp_path / "train.py").write_text(train)
    home = f"export XDG_CONFIG_HOME={tmp_path}/config\n"

    def sh(code: str) -> str:
        return service.run(home + code, tmp_path)

    sh(trained)
    assert "sea@1" in sh(tried)
    assert "sea@1 -> sea@2" in (said := sh(again))
    assert "of 2 answers change" in said
    lines = sh(rolled).splitlines()
    assert [line for line in lines if " is sea@" in line][1:] == [
        "sea@prod is sea@2",
        "sea@prod is sea@(1: 0.9, 2: 0.1)",
        "sea@prod is sea@1",
    ]
    history = [line.strip() for line in lines]
    assert history.index("worse on long texts") < history.index("good on a tenth") < history.index("a tenth first")
    assert "trained on one line" in history
    sh(pulled)
    (tmp_path / "load.py").write_text(loaded)
    assert sh(f"python load.py {demo_models}/smollm2").strip() == "4"


def test_an_application_keeps_its_openai_client_over_a_release(service: Service, tmp_path: Path) -> None:
    pushed, app, first, released, fixed, forms, formed, careful, failed = code_of(
        "guides/from-your-application.md", service
    )
    (tmp_path / "service").symlink_to(ROOT / "service")
    for name, code in {"app.py": app, "forms.py": forms, "careful.py": careful}.items():
        (tmp_path / name).write_text(code)
    exported = "\n".join(line for line in first.splitlines() if line.startswith("export "))
    home = f"export XDG_CONFIG_HOME={tmp_path}/config\n{exported}\n"

    def sh(code: str) -> list[str]:
        return service.run(home + code, tmp_path).splitlines()

    sh(pushed)
    (alice,) = sh(first)
    assert alice.startswith("alice captain@1:")
    answered = [line.split(maxsplit=2) for line in sh(released) if " captain@" in line and ":" in line.split()[1]]
    half, all_of_them = answered[:8], answered[8:]
    version_of = dict(line[:2] for line in half)
    assert {fingerprint[:9] for fingerprint in version_of.values()} == {"captain@1", "captain@2"}
    assert half[:2] == half[6:]
    assert [(user, fingerprint[:9]) for user, fingerprint, _ in all_of_them] == [
        ("alice", "captain@2"),
        ("bob", "captain@2"),
    ]
    assert sh(fixed) == []
    assert (tmp_path / "expected.txt").read_text().split()[1:2] == alice.split()[1:2]
    written, width = sh(formed)
    assert written in ("{'deep': True}", "{'deep': False}")
    assert width == "[384, 384]"
    unknown, late = sh(failed)
    assert unknown.split()[0] == "model_not_found"
    assert len(unknown.split()) == 2
    assert late == "504"


@pytest.fixture
def own(demo_models: Path, tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, demo_models)
    service.environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    yield service
    service.close()


def test_an_operator_starts_backs_up_and_restores(own: Service) -> None:
    settings, keys, known, running, restored, revoked = code_of("operations/first-day.md", own)

    checked = own.run(settings)
    assert "serve would start." in checked
    _export(own, settings)
    listed = own.run(keys)
    assert "publisher  fraud  ci  valid, never used" in listed
    own.start_preloaded().wait_until_ready()
    assert "all is well" in own.run(known)

    secret = (own.directory / "admin.key").read_text().strip()
    with Client(own.address, secret) as client:
        client.models.register("mlp", {"kind": "python", "factory": "bases:mlp"})
        client.adapters.create("tone", RANDOM_LORA, model="mlp", seed=1)
        client.adapters.promote("tone", 1, alias="prod", reason="the first")
        before = client.infer("mlp", {"x": ROWS}, adapter="tone@prod").outputs["output"]
        assert "1 blobs" in own.run(running)
        with (own.directory / "usage.csv").open() as file:
            assert "mlp" in {line["model"] for line in csv.DictReader(file)}
        client.adapters.delete("tone", drain=True, reason="by mistake")
    own.kill()

    assert "Checked 1 blobs: 1 sound." in own.run(restored)
    _export(own, restored)
    own.run(revoked)
    own.start_preloaded().wait_until_ready()
    with Client(own.address, secret) as client:
        answer = client.infer("mlp", {"x": ROWS}, adapter="tone@prod")
        assert answer.adapter == ("tone@1",)
        np.testing.assert_array_equal(answer.outputs["output"], before)
        assert [event.raw["reason"] for event in client.events.list(adapter="tone", kind="alias")] == ["the first"]
    revoked_key = (own.directory / "fraud.key").read_text().strip()
    with Client(own.address, revoked_key) as client, pytest.raises(Unauthorized):
        list(client.models.list())


def code_of(page: str, service: Service) -> list[str]:
    """A page's blocks, with the service's own address."""
    here = service.address.removeprefix("http://")
    return [ADDRESS.sub(here, block.text) for block in blocks_of(ROOT / "docs" / page)]


def _export(service: Service, code: str) -> None:
    """Keep what a block exports for the commands that follow it."""
    for line in code.splitlines():
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            service.environment[name] = value.replace("$PWD", str(service.directory))
