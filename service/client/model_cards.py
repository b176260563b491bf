"""The model card beside a pulled adapter, README.md as Hugging Face's hub reads it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.client.hub_layout import CARD
from service.client.records import Version

_MARK = "<!-- Written by adapter-service, which replaces it with the next pull. -->"


def write_card(directory: Path, config: Mapping[str, Any], version: Version, model: str) -> None:
    """Beside the adapter's files, unless somebody else's README.md is there."""
    file = directory / CARD
    if not file.exists() or _MARK in file.read_text(encoding="utf-8", errors="replace"):
        file.write_text(_card(config, version, model), encoding="utf-8")


def _card(config: Mapping[str, Any], version: Version, model: str) -> str:
    base = version.metadata.get("base_model") or config.get("base_model_name_or_path")
    task = config.get("task_type")
    # A text in JSON is one in YAML, whatever it holds.
    head = [f"base_model: {json.dumps(base)}"] if isinstance(base, str) and base else []
    head += ["library_name: peft", f"tags:\n- {json.dumps(version.method.lower())}"]
    about = {
        "Version": f"`{version.reference}` on the base model `{model}`",
        "Digest": f"`{version.digest}`",
        "Method": version.method,
        "Parameters": f"{version.parameters:,}",
        "Created": version.created_at,
        "Task": task,
    }
    rows = [f"| {name} | {value} |" for name, value in about.items() if value]
    return "\n".join(
        [
            *("---", *head, "---", _MARK, "", f"# {version.reference}", ""),
            *("| | |", "| --- | --- |", *rows, ""),
            *(
                "```python",
                "from peft import PeftModel",
                "",
                'model = PeftModel.from_pretrained(base_model, ".")',
                "```",
            ),
            "",
        ]
    )
