"""The OpenAPI document as it is committed. Making the app's own takes a second; test_openapi.py compares the two."""

import json
from pathlib import Path
from typing import Any

COMMITTED = Path(__file__).parents[2] / "openapi" / "openapi.json"


def committed_document() -> dict[str, Any]:
    return json.loads(COMMITTED.read_text(encoding="utf-8"))
