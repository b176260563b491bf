"""The Python client: `Client`, and `AsyncClient` with the same names for asyncio. Imports neither torch nor FastAPI."""

from service.client.asynchronous import AsyncClient
from service.client.blocking import Client
from service.client.checkpoints import CheckpointFiles
from service.client.difference_calls import Difference, TargetDifference
from service.client.errors import (
    BadRequest,
    ClientError,
    Conflict,
    DeadlinePassed,
    ErrorItem,
    Forbidden,
    Invalid,
    NoRoom,
    NotFound,
    OtherVersion,
    Overloaded,
    ProblemError,
    ServerFailed,
    Stale,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
    Unsupported,
    UploadBroken,
)
from service.client.event_calls import Event
from service.client.records import Adapter, Answer, Model, Pushed, Version
from service.client.retries import Retries
from service.client.rollout_calls import Comparison, Rollout, ShadowCounts, VersionCounts
from service.client.service_calls import ServiceState
from service.client.streams import TextEnd, TextPiece
from service.client.uploads import AsyncUpload, Upload
from service.client.usage_calls import Used

__all__ = [
    "Adapter",
    "Answer",
    "AsyncClient",
    "AsyncUpload",
    "BadRequest",
    "CheckpointFiles",
    "Client",
    "ClientError",
    "Comparison",
    "Conflict",
    "DeadlinePassed",
    "Difference",
    "ErrorItem",
    "Event",
    "Forbidden",
    "Invalid",
    "Model",
    "NoRoom",
    "NotFound",
    "OtherVersion",
    "Overloaded",
    "ProblemError",
    "Pushed",
    "Retries",
    "Rollout",
    "ServerFailed",
    "ServiceState",
    "ShadowCounts",
    "Stale",
    "TargetDifference",
    "TextEnd",
    "TextPiece",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "Unsupported",
    "Upload",
    "UploadBroken",
    "Used",
    "Version",
    "VersionCounts",
]
