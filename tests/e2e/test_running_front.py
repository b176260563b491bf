"""What a front has loaded after it has hosted models, made adapters and answered: nothing that runs a model."""

import json
import subprocess
import sys
from pathlib import Path

from importing import LIVE, below

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from pathlib import Path
from apps import ROWS, create, expect, host, settings_in
from starlette.testclient import TestClient
from service.bootstrap import create_app

with TestClient(create_app(settings_in(Path(sys.argv[1]), transport="local_process"))) as client:
    host(client, "mlp", "bases:mlp")
    create(client, "a")
    create(client, "dora", {"peft_type": "LORA", "r": 2, "use_dora": True, "target_modules": ["first"]})
    body = {"name": "both", "adapters": {"a": 0.5, "a@1": 0.5}, "method": "linear"}
    expect(client.post("/models/mlp/adapters/compose", json=body), 201)
    expect(client.post("/models/mlp/infer", json={"adapter": ["a", "both"], "inputs": {"x": ROWS}}), 200)
    expect(client.get("/models/mlp/modules"), 200)
    expect(client.get("/adapters/a"), 200)
    loaded = sorted(sys.modules)
print(json.dumps(loaded))
"""


def test_a_running_front_has_loaded_nothing_that_runs_models(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{ROOT / 'tests' / 'support'}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    loaded = set(json.loads(ended.stdout.splitlines()[-1]))
    assert not below(loaded, *LIVE)
    assert below(loaded, "models_registry.base_models") <= {
        "models_registry.base_models",
        "models_registry.base_models.sources",
    }
    assert "bases" not in loaded  # the factory's module
