"""`/v1/load_lora_adapter` and `/v1/unload_lora_adapter`, as vLLM's controllers call them."""

from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from service.front.api.dependencies import loras_of
from service.front.api.http.bodies import JSON, reads
from service.front.api.openai.error_bodies import documented
from service.front.api.openai.writing import read_body
from service.front.api.routes.loading import TheLoads
from service.front.services.lora_directories import LoraOrder

router = APIRouter(tags=["openai"])


class LoadLoraBody(BaseModel):
    """Fields of vLLM's that are not listed are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    lora_name: str = Field(description="What `model` names it by from now on.", examples=["pirate"])
    lora_path: str = Field(
        min_length=1,
        max_length=4096,
        description="A directory under ADAPTER_SERVICE_LORA_ROOT that holds PEFT's two files.",
        examples=["pirate"],
    )
    load_inplace: bool = Field(default=False, description="Make a new version of what is loaded.", examples=[True])
    base_model_name: str | None = Field(
        default=None,
        description="Its base model's id; by default the one that its config names, or the only one.",
        examples=["smollm2"],
    )


class UnloadLoraBody(BaseModel):
    """Fields of vLLM's that are not listed are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    lora_name: str = Field(description="As it was loaded.", examples=["pirate"])


@router.post(
    "/v1/load_lora_adapter",
    response_class=PlainTextResponse,
    responses=documented(404, 409, 413, 415, 422, 507),
    openapi_extra=reads({JSON: LoadLoraBody}),
)
async def load_lora_adapter(request: Request, loads: TheLoads) -> PlainTextResponse:
    """Create an adapter from a directory of the operator's; it is in memory then, if there is room."""
    body = await read_body(LoadLoraBody, request)
    order = LoraOrder(body.lora_name, body.lora_path, body.base_model_name, body.load_inplace)
    await loads.run(partial(loras_of(request).load, order))
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")


@router.post(
    "/v1/unload_lora_adapter",
    response_class=PlainTextResponse,
    responses=documented(404, 409, 413, 415),
    openapi_extra=reads({JSON: UnloadLoraBody}),
)
async def unload_lora_adapter(request: Request, loads: TheLoads) -> PlainTextResponse:
    """Remove an adapter that was loaded from a directory, whose files stay."""
    body = await read_body(UnloadLoraBody, request)
    await loads.run(partial(loras_of(request).unload, body.lora_name))
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")
