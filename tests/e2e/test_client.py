"""The guide's Python client as it stands there, against the service that the README's command starts."""

import ast
import re
from pathlib import Path

import pytest
from e2e.process import ROOT, Service
from peft import PeftConfig

from service.client import Client


def test_the_guides_client_pushes_asks_and_pulls(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "docs" / "guides" / "python-client.md").read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL))
    here = code.replace("http://127.0.0.1:8000", service.address).replace('"service/demo', f'"{ROOT}/service/demo')
    monkeypatch.chdir(tmp_path)
    exec(compile(here, "python-client.md", "exec"), {})
    texts, shape, *_, sent, pushed = capsys.readouterr().out.splitlines()
    assert len(ast.literal_eval(texts)) == 1
    assert shape == "(2, 384)"
    assert len(set(re.findall(r"\d+", sent))) == 1  # all of its bytes
    assert pushed == "watched@1"
    assert PeftConfig.from_pretrained(str(tmp_path / "sailor")).peft_type == "LORA"
    with Client(service.address) as client:
        again = client.adapters.push("sailor", ROOT / "service" / "demo" / "pirate", model="smollm2")
        assert again.unchanged
        assert len(client.adapters.get("sailor").versions) == 1
