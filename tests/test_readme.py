"""What the README says is so: its library's Python runs as it stands, and its table has every setting."""

import re
from pathlib import Path

import pytest
import torch

from service.settings import Settings

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_its_python_runs_and_prints_what_its_comments_say(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "models_registry" in block]
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    model, rows = names["model"], names["rows"]
    assert isinstance(model, torch.nn.Module)
    printed = capsys.readouterr().out
    assert str(model(rows)) in printed
    assert "'0.lora_A.weight', '0.lora_B.weight'" in printed
    assert [name for name, _ in model.named_modules()] == ["", "0", "1", "2"]


def test_its_table_has_every_setting_once() -> None:
    named = re.findall(r"^\| `ADAPTER_SERVICE_([A-Z0-9_]+)`", README, re.MULTILINE)
    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("path", re.findall(r"\]\((?!https?:)([^)]+)\)", README))
def test_what_it_links_to_is_there(path: str) -> None:
    assert (Path(__file__).parents[1] / path).exists()
