"""Keys: what a caller shows to be let in, as whom and to what."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from models_registry.records import Role
from service.front.access.caller import current_caller
from service.front.api.dependencies import Name, Reason, TheKeys, TheSettings, WrittenName
from service.front.api.http.bodies import JSON, media_type_of, read_json, reads
from service.front.api.problems import documented

router = APIRouter(tags=["keys"])

KeyId = Annotated[str, Path(pattern="^[a-z2-7]{8}$", description="A key's id.", examples=["k5x2m7qa"])]
MOST_LISTED = 1000


class NewKeyBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=128, description="What it is for.", examples=["nightly evaluation"])
    role: Role = Field(
        description="`reader` lists and reads, `caller` infers too, `publisher` changes adapters too, `admin` may do "
        "everything. At most the maker's own.",
        examples=["caller"],
    )
    team: Name | None = Field(
        default=None, description="Whose it is; by default its maker's. Only admins name another.", examples=["fraud"]
    )
    models: list[Name] | None = Field(
        default=None, max_length=MOST_LISTED, description="The base models it is limited to.", examples=[["minilm"]]
    )
    adapters: list[WrittenName] | None = Field(
        default=None,
        max_length=MOST_LISTED,
        description="The adapters it is limited to; another team's shared one is `team:name`.",
        examples=[["pirate"]],
    )
    expires_at: AwareDatetime | None = Field(
        default=None, description="From then on it is refused.", examples=["2027-01-01T00:00:00Z"]
    )


class KeyAnswer(BaseModel):
    id: str = Field(description="What events and logs call it.", examples=["k5x2m7qa"])
    name: str = Field(description="What it is for.", examples=["nightly evaluation"])
    team: str = Field(description="Whose it is.", examples=["fraud"])
    role: Role = Field(description="What it may do.", examples=["caller"])
    models: list[str] | None = Field(
        description="All base models it may be used for; null: every one.", examples=[["minilm"]]
    )
    adapters: list[str] | None = Field(
        description="All adapters it may be used for; null: every one.", examples=[["pirate"]]
    )
    created_at: datetime = Field(description="When it was made.", examples=["2026-11-28T07:00:00Z"])
    created_by: str | None = Field(description="The id of the key that made it; null: none.", examples=["admin-key"])
    expires_at: datetime | None = Field(
        description="From then on it is refused; null: never.", examples=["2027-01-01T00:00:00Z"]
    )
    revoked_at: datetime | None = Field(
        description="Since then it is refused; null: it isn't revoked.", examples=[None]
    )
    last_used_at: datetime | None = Field(
        description="When it was last sent, up to a minute late; null: never.", examples=["2026-11-28T07:00:00Z"]
    )


class NewKeyAnswer(KeyAnswer):
    key: str = Field(
        description="The key itself, which is shown this once: only its sha256 is kept.",
        examples=["ask_k5x2m7qa_0uVhm3SKeNb2J2eTQyo7A4bN5V4nq9m9TtQyJc1rM4E"],
    )


class KeysAnswer(BaseModel):
    items: list[KeyAnswer] = Field(description="The oldest first, revoked ones too.")


async def _read_key(request: Request, settings: TheSettings) -> NewKeyBody:
    media_type_of(request, JSON)
    return await read_json(NewKeyBody, request, settings.max_json_bytes)


@router.post(
    "/keys", status_code=201, responses=documented(404, 413, 415, 422, 507), openapi_extra=reads({JSON: NewKeyBody})
)
def create_key(body: Annotated[NewKeyBody, Depends(_read_key)], keys: TheKeys, response: Response) -> NewKeyAnswer:
    """A new key. Admins make them for every team, publishers for their own."""
    key, secret = keys.create(
        current_caller(), body.name, body.role, body.team, _listed(body.models), _listed(body.adapters), body.expires_at
    )
    response.headers["Cache-Control"] = "no-store"
    return NewKeyAnswer.model_validate(asdict(key) | {"key": secret})


@router.get("/keys", responses=documented())
def list_keys(keys: TheKeys) -> KeysAnswer:
    """All keys for an admin, those of their own team for a publisher."""
    return KeysAnswer(items=[KeyAnswer.model_validate(asdict(key)) for key in keys.list(current_caller())])


@router.delete("/keys/{id}", status_code=204, responses=documented(404, 507), dependencies=[Reason])
def revoke_key(id: KeyId, keys: TheKeys) -> None:
    """Refuse a key from now on, here at once and in every other process within two seconds."""
    keys.revoke(current_caller(), id)


def _listed(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)
