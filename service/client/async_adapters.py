"""Adapters for asyncio: `client.adapters` of an `AsyncClient`."""

from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any

from service.client import adapter_calls
from service.client.calls import SendAsync, follow_async
from service.client.checkpoints import Checkpoint, opened
from service.client.difference_calls import Difference, get_difference
from service.client.paging import items_async
from service.client.records import Adapter, Pushed
from service.client.rollout_calls import Rollout, roll_back
from service.client.tensors import Array
from service.client.uploads import AsyncUpload, Watch


class AsyncAdapters:
    """Adapters: `client.adapters`."""

    def __init__(self, send: SendAsync) -> None:
        self._send = send

    async def push(
        self,
        name: str,
        checkpoint: Checkpoint,
        *,
        model: str,
        metadata: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        reason: str | None = None,
        progress: Watch | None = None,
    ) -> Pushed:
        """Store a trained adapter: a new one, or the next version of the one that has this name.

        Where the newest version has the same config and bytes already, nothing is stored (`unchanged`). A file is read
        as it is sent. An upload whose connection breaks is begun anew; a push that raises has stored nothing, except
        where `UploadBroken` says that it may have, and repeating it is safe. Labels are set after it.

        Args:
            checkpoint: the directory that PEFT's `save_pretrained` wrote, a `PeftModel` (its active adapter), a state
                dict and a config, or `CheckpointFiles`.
            model: the base model that a new adapter belongs to.
            labels: for finding the adapter; set beside those that it has.
            reason: why; it stands in the event.
            progress: called with the bytes that were sent, and with how many there are.

        Raises:
            FileNotFoundError: the directory lacks one of PEFT's two files.
            Invalid: it doesn't fit the base model; `errors` lists everything.
            UploadBroken: the connection broke in its last attempt, too.
        """
        with opened(checkpoint) as files:
            plan = adapter_calls.push(name, files, model, metadata or {}, labels or {}, reason, progress)
            return await follow_async(self._send, plan)

    def upload(
        self,
        name: str,
        checkpoint: Checkpoint,
        *,
        model: str,
        metadata: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> AsyncUpload:
        """A push whose progress can be followed: `async with client.adapters.upload(…) as progress:`, and in it
        `async for step in progress`, which has `step.sent` of `step.total` bytes; then `await progress.result()`."""

        def push(watch: Watch) -> Coroutine[Any, Any, Pushed]:
            return self.push(
                name, checkpoint, model=model, metadata=metadata, labels=labels, reason=reason, progress=watch
            )

        return AsyncUpload(push)

    async def check(self, name: str, checkpoint: Checkpoint, *, model: str, progress: Watch | None = None) -> Pushed:
        """What a push would do: its warnings, and the version that it would make. Nothing is stored."""
        with opened(checkpoint) as files:
            return await follow_async(self._send, adapter_calls.check(name, files, model, progress))

    async def create(
        self,
        name: str,
        config: Mapping[str, Any],
        *,
        model: str,
        seed: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Pushed:
        """A new adapter with its method's own initial weights; `config` is PEFT's adapter_config.json."""
        return await self._send(adapter_calls.create_adapter(name, config, model, seed, metadata or {}))

    async def compose(self, name: str, adapters: Mapping[str, float], *, model: str, **options: Any) -> Pushed:
        """Merge stored adapters, by reference with their weights, into a new one; `options` as `method="svd"`."""
        return await self._send(adapter_calls.compose(name, adapters, model, options))

    async def get(self, name: str) -> Adapter:
        """Its versions and aliases."""
        return await self._send(adapter_calls.get_adapter(name))

    def list(self, *, model: str | None = None, **filters: str) -> AsyncIterator[Adapter]:
        """Every adapter, or those of one base model, by name; `filters` are those of `GET /adapters`, such as
        `labels="stage=prod"` and `sort="-used"`."""
        return items_async(self._send, adapter_calls.list_adapters(model, filters))

    async def config(self, reference: str) -> dict[str, Any]:
        """The adapter_config.json of `tone`, `tone@3` or `tone@prod`."""
        return await self._send(adapter_calls.get_config(reference))

    async def state(self, reference: str) -> dict[str, Array]:
        """The state dict of `tone`, `tone@3` or `tone@prod`, as arrays."""
        return await self._send(adapter_calls.get_state(reference))

    async def pull(self, reference: str, directory: str | Path, *, progress: Watch | None = None) -> Path:
        """Write PEFT's two files into `directory`, from which `PeftModel.from_pretrained` loads them. `progress` is
        called with the bytes that were received, and with how many there are."""
        return await follow_async(self._send, adapter_calls.pull(reference, Path(directory), progress))

    async def diff(self, reference: str, *, before: str | None = None) -> Difference:
        """What changed since another version (`before`, a reference; None: the version before): the config's keys, and
        what each module gets added."""
        return await self._send(get_difference(reference, before))

    async def promote(self, name: str, version: int, *, alias: str, reason: str | None = None) -> None:
        """Let `name@alias` be this version, in one step. The `reason` stands in the event."""
        await self._send(adapter_calls.move_alias(name, alias, version, reason))

    async def rollback(self, name: str, alias: str, *, reason: str | None = None) -> Rollout:
        """Let `name@alias` be what it was before its last move; each further call undoes one more move. Raises
        `Conflict` where there is no way back."""
        return await self._send(roll_back(name, alias, reason))

    async def describe(self, name: str, **words: Any) -> Adapter:
        """Change what its team says of it: `labels` (all of them), `description`, `owner`, `visibility`."""
        return await self._send(adapter_calls.describe_adapter(name, words))

    async def delete_alias(self, name: str, alias: str, *, reason: str | None = None) -> None:
        """Forget an alias; its version stays."""
        await self._send(adapter_calls.delete_alias(name, alias, reason))

    async def delete(
        self, name: str, *, version: int | None = None, drain: bool = False, reason: str | None = None
    ) -> None:
        """Remove the adapter, or one version of it; with `drain` once the requests that use it have ended."""
        await self._send(adapter_calls.delete_adapter(name, version, drain, reason))

    async def load(self, name: str, *, model: str, pin: bool = False) -> Adapter:
        """Bring the newest version into memory now; with `pin` it stays."""
        return await self._send(adapter_calls.load_adapter(name, model, pin))

    async def unload(self, name: str, *, model: str) -> Adapter:
        """Take all versions out of memory."""
        return await self._send(adapter_calls.unload_adapter(name, model))
