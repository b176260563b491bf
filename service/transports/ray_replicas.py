"""The replicas of one base model, behind Serve's handle: a verb is asked of one of them, or of all."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from typing import Any
from uuid import uuid4

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from models_registry.errors import Unavailable
from models_registry.records import AdapterVersion
from service.protocol import codec
from service.protocol.errors import HostLost
from service.protocol.frames import joined_frame, split_frame
from service.protocol.messages import Answered, Failed, Written
from service.protocol.replicas import Done, Inferred, Lost, ReplicaPlace, Said, Unknown
from service.protocol.texts import OnPart, TextPart
from service.protocol.types import HostAnswer, InferCall, Selection, distinct_versions

DEPLOYMENT = "host"
"""The name of a base model's deployment in its application."""
MOST_ATTEMPTS = 8
"""So many replicas may end before a request has begun on one."""
PAUSE_S = 0.2
"""Between these attempts: a replica that has lost its host is still known to the router for a moment."""


class Replicas:
    """For one event loop. `model` is the base model's id."""

    def __init__(self, model: str) -> None:
        self.front = uuid4().hex
        """Distinguishes this front's ids of requests from those of others."""
        self._model = model
        self._handle: DeploymentHandle[Any] | None = None
        self._told: set[str] = set()

    def open(self, application: str) -> None:
        """Where they are: an application of Serve's, which may still be starting."""
        self._handle = serve.get_deployment_handle(DEPLOYMENT, application, _check_exists=False)

    async def one(self, verb: str, *arguments: Any) -> Any:
        """The result of the replica that the router chooses. Raises as the verb does."""
        return self.value_of(await getattr(self._opened, verb).remote(*arguments))

    async def all(self, verb: str, *arguments: Any) -> list[Said]:
        """What every replica that there is says; those that end meanwhile say nothing."""
        if self._handle is None:
            return []
        try:
            said = await self._handle.broadcast(verb, *arguments).results_async(return_exceptions=True)
        except DeploymentUnavailableError:  # there is none at this moment
            return []
        return [one for one in said if isinstance(one, Said)]

    async def places(self) -> list[ReplicaPlace]:
        """Of every replica that has its model."""
        return [one.value for one in await self.all("place") if isinstance(one, Done) and one.value is not None]

    def value_of(self, said: Said) -> Any:
        """Raises what the replica's host raised, and `HostLost` where it has ended."""
        match said:
            case Done():
                return said.value
            case Lost():
                raise HostLost(self._model, said.reason, said.running, said.host)
            case Failed():
                raise codec.error_of(said)

    def unlearn(self, keys: Collection[str]) -> None:
        """These versions were removed."""
        self._told.difference_update(keys)

    async def infer(
        self, id: int, call: InferCall, selections: tuple[Selection, ...], on_part: OnPart | None
    ) -> HostAnswer:
        """As the protocol's verb. What has not begun on a replica that ends is asked of another one; `HostLost` for
        what has."""
        until = None if call.remaining_s is None else time.monotonic() + call.remaining_s
        versions = {version.key: version for version in distinct_versions(selections)}
        sent = tuple(version for key, version in versions.items() if key not in self._told)
        heard = False

        def hear(part: TextPart) -> None:
            nonlocal heard
            heard = True
            assert on_part is not None, "only then is it called"
            on_part(part)

        reason = "none of its replicas stayed"
        for _ in range(MOST_ATTEMPTS):
            left = None if until is None else max(0.0, until - time.monotonic())
            message = codec.infer_message(id, replace(call, remaining_s=left), selections, on_part is not None)
            content = joined_frame(codec.encode(message), list(call.inputs.tensors.values()))
            try:
                said = await self._say(content, sent, hear if on_part is not None else None)
            except RayActorError as error:
                said = Lost(f"its replica ended: {type(error).__name__}")
            match said:
                case Unknown():
                    sent = tuple(versions[key] for key in said.keys)
                    continue
                case Lost():
                    reason = said.reason
                    if heard or id in said.running:
                        raise HostLost(self._model, reason, said.running, said.host)
                case bytes():
                    self._told |= versions.keys()
                    return _answer_in(said, selections)
            await asyncio.sleep(PAUSE_S)
        raise HostLost(self._model, reason)

    async def _say(
        self, content: bytes, versions: tuple[AdapterVersion, ...], hear: Callable[[TextPart], None] | None
    ) -> Inferred:
        if hear is None:
            return await self._opened.infer.remote(self.front, content, versions)
        saying: AsyncIterator[Inferred] = self._streaming.stream.remote(self.front, content, versions)  # pyright: ignore[reportAssignmentType]
        async for said in saying:
            if isinstance(said, bytes):
                message = codec.decode_from_host(split_frame(said)[0])
                if isinstance(message, Written):
                    hear(message.part)
                    continue
            return said
        return Lost("its replica ended a stream")

    @property
    def _streaming(self) -> DeploymentHandle[Any]:
        return self._opened.options(stream=True)

    @property
    def _opened(self) -> DeploymentHandle[Any]:
        if self._handle is None:
            raise Unavailable(f"The base model {self._model!r} has no replica yet.")
        return self._handle


def _answer_in(content: bytes, selections: tuple[Selection, ...]) -> HostAnswer:
    head, payload = split_frame(content)
    message = codec.decode_from_host(head)
    if isinstance(message, Failed):
        raise codec.error_of(message)
    assert isinstance(message, Answered), "nothing else ends a request"
    return codec.host_answer(message, selections, payload)
