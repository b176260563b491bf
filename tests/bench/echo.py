"""What HTTP costs here with nothing behind it: FastAPI reads a body's JSON and writes it back. And what tensors in JSON
cost as one writes it oneself: the standard library's, lists in and out.
"""

from typing import Any

import torch
from fastapi import FastAPI, Request

from tests.bench.wide import wide

app = FastAPI()
model = wide()


@app.post("/echo")
async def echo(request: Request) -> Any:
    return await request.json()


@app.post("/infer")
async def infer(request: Request) -> Any:
    rows = torch.tensor((await request.json())["inputs"]["x"])
    with torch.inference_mode():
        return {"output": model(rows).tolist()}
