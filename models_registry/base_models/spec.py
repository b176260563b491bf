"""The contract of a base model's source: how it is built, how rows are put in, how named outputs are returned.

A spec knows one *kind* of base model (a transformers directory, any torch module). It has no threads, no queue and no
adapters: `service/host` calls it inside `adapted.routed(...)` and the adapters act without the spec's knowledge.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from models_registry.base_models.writing import Prompt, TokenDrawer, Writer
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import AbsentHead


@dataclass(frozen=True, slots=True)
class Padding:
    """How rows may be made longer on the right without changing what their own tokens give: `fill` names the inputs
    [rows, tokens] and what is put behind them. Of these, `mask` may be missing; it is 1 at a row's own tokens.
    """

    fill: Mapping[str, int]
    mask: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked inputs, ready for one forward: tensors on the model's device, `count` rows along each leading dimension.

    `count` is None where the inputs have no common leading dimension; such a request runs alone with one adapter.
    Without `padding`, they share a forward only with rows of their own shape.
    """

    tensors: Mapping[str, torch.Tensor]
    count: int | None
    from_text: bool = False
    padding: Padding | None = None


class BaseModelSpec(Protocol):
    """One base model and what its rows are. Created by `open_spec`; what it reads rows by, it learns when it builds."""

    task: str | None

    @property
    def absent_head(self) -> AbsentHead | None:
        """The head that the files of the built module lack, which only adapters bring."""
        ...

    def build(self, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
        """The module: in eval mode, frozen, on `device`, in `dtype` (None: the source's own). Raises `Invalid`."""
        ...

    def prepare(self, inputs: Inputs, chat: bool | None, parameters: Mapping[str, Any] | None) -> Inputs:
        """What `read` and `generate` take: chats, and texts that are to be turns of one, as the chat template writes
        them. With `chat` None, texts are turns where `parameters` ask for text and there is a template.

        Raises `Invalid` where the model has no text or no template, for a chat that the template refuses, and for
        `parameters` that `generate` doesn't take.
        """
        ...

    def read(self, module: nn.Module, inputs: Inputs) -> Rows:
        """Check and convert. Raises `Invalid` listing every unknown input name, missing input, ragged leading
        dimension, and every token id outside the embedding with its row; before anything reaches the device."""
        ...

    def forward(self, module: nn.Module, rows: Rows) -> Mapping[str, OutputValue]:
        """One forward. Outputs under their field names (`output` for a bare tensor, `output_0…` for a tuple); text rows
        also give what the task promises (`embedding`; `label` and `score`; `next_token` and `score`)."""
        ...

    def default_outputs(self, inputs: Inputs) -> tuple[str, ...] | None:
        """The outputs that these inputs get where nobody names any; None: all of them."""
        ...

    def example(self, module: nn.Module) -> Rows | None:
        """A few small rows that the module surely takes; None where the source alone doesn't show any."""
        ...

    def writer(self, module: nn.Module) -> Writer | None:
        """What its texts are written by, token by token; None where only `generate` can write them."""
        ...

    def prompts(self, inputs: Inputs, parameters: Mapping[str, Any]) -> tuple[Prompt, ...]:
        """The texts, as `prepare` made them, as tokens for a `writer`'s model. Raises `Invalid` where one is too long,
        and for parameters that `generate` doesn't take."""
        ...

    def generate(
        self,
        module: nn.Module,
        inputs: Inputs,
        parameters: Mapping[str, Any],
        stopped: Callable[[], bool],
        places: Sequence[int] = (),
    ) -> tuple[str, ...]:
        """Continue each text, as `prepare` made it. `stopped` is asked after each token: once it says so, what there is
        comes back. `places` are the texts' in their callers' requests (by default 0, 1, …): with a seed, a text is
        drawn by the seed and its place, whatever stands beside it. Raises `Invalid` where the
        task isn't text generation or a parameter is unknown, of the wrong type or out of range."""
        ...

    def write(self, module: nn.Module, inputs: Inputs, parameters: Mapping[str, Any], drawer: TokenDrawer) -> None:
        """Let `generate` compute texts that `drawer` draws, token by token. Of the `parameters` only the length counts.
        Raises as `generate` does."""
        ...

    def joins(self, parameters: Mapping[str, Any]) -> bool:
        """Whether texts get the same continuations alone and among others' texts: nothing is drawn at random, and
        nothing looks at the padding or at how much room the longest leaves. Raises as `generate` does."""
        ...
