"""The command as a terminal runs it: arguments and lines in, an exit code and both outputs back."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from service.client.commands import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Command: TypeAlias = Callable[..., Ran]


@pytest.fixture
def command(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs `adapters`; the address stands in the environment, and nothing is remembered yet."""
    monkeypatch.setenv("ADAPTERS_URL", address)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))

    def run(*arguments: str, lines: str = "") -> Ran:
        monkeypatch.setattr(sys, "argv", ["adapters", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return run
