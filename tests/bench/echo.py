"""What HTTP costs here with nothing behind it: FastAPI reads a body's JSON and writes it back."""

from typing import Any

from fastapi import FastAPI, Request

app = FastAPI()


@app.post("/echo")
async def echo(request: Request) -> Any:
    return await request.json()
