"""Which version of the service answers."""

from importlib.metadata import version

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.front.api.problems import documented

router = APIRouter(tags=["health"])


class ServiceVersion(BaseModel):
    version: str = Field(description="As `adapterctl --version` prints it.", examples=["0.1.0"])


@router.get("/version", responses=documented())
async def read_version() -> ServiceVersion:
    """The version that answers."""
    return ServiceVersion(version=version("adapter-service"))
