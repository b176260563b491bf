"""Which of transformers' model types can be hosted: a tiny model of each, through the directory that a caller names."""

import os
import subprocess
import sys
from pathlib import Path

import hosting_types
import pytest

HERE = Path(__file__).parent
LIST = HERE / "model_types.txt"
COMPOSITE = ("clip", "gemma3", "llava", "paligemma")
OTHERS = ("t5", "vit", "xlnet")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", COMPOSITE + OTHERS)
def test_a_type_whose_config_is_unlike_the_others_is_hosted(model_type: str, tmp_path: Path) -> None:
    assert hosting_types.host_type(model_type, tmp_path) == "hosted, base and adapter run"


def test_the_list_has_no_type_that_our_own_code_refuses() -> None:
    refused = [line for line in LIST.read_text().splitlines() if "NOT HOSTED" in line]
    assert all("transformers can't load model" in line for line in refused)


@pytest.mark.deep
def test_every_type_of_transformers_is_hosted_as_the_list_says() -> None:
    types = [line.partition(":")[0] for line in LIST.read_text().splitlines()]
    command = [sys.executable, str(HERE.parents[1] / "support" / "hosting_types.py"), *types]
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parents[2]}:{HERE.parents[1]}"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == LIST.read_text().splitlines()
