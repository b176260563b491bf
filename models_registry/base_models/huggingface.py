"""A transformers directory with safetensors weights, or a GGUF file in one: local files only, none of their code."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GgufConfig, PreTrainedModel

from models_registry.base_models.absent_head import absent_head_of, check_complete, declared_labels, is_head
from models_registry.base_models.classification import classify
from models_registry.base_models.encoder_decoder import (
    first_decoder_inputs,
    lacks_decoder_inputs,
    missing_decoder_inputs,
)
from models_registry.base_models.failed_forward import named_inputs
from models_registry.base_models.generate_call import drawn_arguments, generate_arguments, until_end
from models_registry.base_models.generation import (
    GenerationParameters,
    check_token_ids,
    end_ids,
    parse_parameters,
)
from models_registry.base_models.load_errors import NO_SUCH_CLASS, in_short
from models_registry.base_models.model_config import own_task, read_config, set_padding
from models_registry.base_models.named_tensors import (
    Signature,
    count_rows,
    name_faults,
    name_outputs,
    signature_of,
    to_module,
)
from models_registry.base_models.next_token import next_tokens
from models_registry.base_models.pooling import Pooling, read_pooling
from models_registry.base_models.right_padding import RightPadding
from models_registry.base_models.seeding import seeded
from models_registry.base_models.sources import check_num_labels
from models_registry.base_models.spec import Rows
from models_registry.base_models.tasks import builder_for
from models_registry.base_models.text import Text, read_text
from models_registry.base_models.text_beginning import TextBeginning
from models_registry.base_models.token_ids import (
    LIKE_TOKENS,
    TOKEN_INPUTS,
    Tables,
    require_tokens,
    tables_of,
    token_faults,
)
from models_registry.base_models.vision import (
    Vision,
    has_images,
    need_vision,
    need_vision_of_pixels,
    read_vision,
)
from models_registry.base_models.writing import Prompt, TokenDrawer, Writer, prompts_of, writer_of
from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import AbsentHead, Fault
from models_registry.task_names import (
    FEATURE_EXTRACTION,
    IMAGE_TEXT_TO_TEXT,
    SPEECH_RECOGNITION,
    TASKS_WITH_LABELS,
    TEXT_CLASSIFICATION,
    TEXT_GENERATION,
    TEXT_TO_TEXT,
    WRITING_TASKS,
)

EXAMPLE_TEXTS = ("A ship leaves the harbour at dawn.", "Bread!", "Why do rivers bend on their way to the sea, then?")
SHORT_TEXTS = ("a b c", "d", "e f g h")
LONG_ENOUGH = 64
"""Tokens that hold each of the former, even where every byte is one."""
# What a text gets where its caller names no outputs: a model's hidden states or logits are hundreds of kilobytes.
OUTPUTS_OF_TEXT = {
    FEATURE_EXTRACTION: ("embedding",),
    TEXT_CLASSIFICATION: ("label", "score", "logits"),
    TEXT_GENERATION: ("next_token", "score"),
}
# Arguments of a forward that aren't data: caches, switches, and the labels of a training step.
NOT_INPUTS = frozenset(
    {"cache", "past_key_values", "use_cache", "labels", "logits_to_keep", "return_dict", "return_loss"}
)


class HuggingFaceSpec:
    """Built by the task's Auto class. Its rows are tensors under the forward's own names, or texts."""

    def __init__(self, directory: Path, file: str | None, task: str | None, num_labels: int | None = None) -> None:
        """`directory` and `file` as `check_source` passed them. Raises `Invalid` for a config we can't build from, and
        where `num_labels` are asked of a model that has none."""
        self._directory = directory
        self._file = file
        self._config = None if file else read_config(directory)
        self.task = task or (TEXT_GENERATION if self._config is None else own_task(self._config))
        self._builder = builder_for(self.task, None if self._config is None else self._config.architectures)
        self._num_labels = num_labels
        check_num_labels(self.task, num_labels)
        self.absent_head: AbsentHead | None = None
        self._text: Text | None = None
        self._tables = Tables()
        self._signature = Signature()
        self._writes = False
        self._vision: Vision | None = None
        self._padding = RightPadding({})
        self._pooling = read_pooling(directory) if self.task == FEATURE_EXTRACTION else Pooling()

    def build(self, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
        module = self._load(dtype)
        self._text = read_text(self._directory, self._file)
        if self._text is not None:
            set_padding(module, self._text.pad_token_id)
        self._vision = read_vision(self._directory) if self._reads_images else None
        self._tables = tables_of(module)
        self._signature = signature_of(module)
        self._writes = self.task in WRITING_TASKS and module.can_generate()
        self._padding = RightPadding.of_model(module, self._tables, self._text)
        nn.Module.to(module, device)  # transformers' own `to` only guards quantised models, and is untyped
        return module.eval().requires_grad_(False)

    def prepare(self, inputs: Inputs, chat: bool | None, parameters: Mapping[str, Any] | None) -> Inputs:
        if parameters is not None:
            self._check_writing(inputs)
            check_token_ids(parse_parameters(parameters), self._tables.decoder.tokens)
        if not inputs.has_text:
            if chat is not None:
                raise Invalid("There is no text.", [Fault(("chat",), "is for text and messages; leave it out")])
            return inputs
        text = self._need_text(("inputs", "messages" if inputs.chats else "text"))
        if inputs.tensors:
            return need_vision_of_pixels(self._vision, writes=parameters is not None).prepare_pixels(inputs, chat, text)
        vision = None if parameters is None else self._vision
        if inputs.chats and (vision is not None or has_images(inputs.chats)):
            return need_vision(vision, inputs.chats).prepare(inputs, text)
        return text.prepare(inputs, chat, parameters is not None)

    def read(self, module: nn.Module, inputs: Inputs) -> Rows:
        model = _transformers(module)
        if inputs.has_text:
            text = self._need_text(("inputs", "text"))
            rows = text.rows(inputs, self._limit(text))
            require_tokens(self._tables, inputs, rows["input_ids"])
            tensors = {name: tensor for name, tensor in rows.items() if name in self._signature.names}
            return Rows(to_module(tensors, model), inputs.count, True, self._padding.of_rows(tensors))
        count = count_rows(inputs.tensors)
        known = [name for name in self._signature.names if name not in NOT_INPUTS]
        required = self._required(model, inputs.tensors)
        faults = [*name_faults(inputs.tensors, known, required), *token_faults(self._tables, inputs.tensors)]
        if faults:
            raise Invalid("The inputs don't fit the model.", faults)
        indices = (*TOKEN_INPUTS, *LIKE_TOKENS)
        tensors = {k: v.long() if k in indices and _is_whole(v) else v for k, v in inputs.tensors.items()}
        return Rows(to_module(tensors, model), count, padding=self._padding.of_rows(tensors))

    def forward(self, module: nn.Module, rows: Rows) -> Mapping[str, OutputValue]:
        # A cache would only be thrown away: what isn't a tensor doesn't come back.
        no_cache = {"use_cache": False} if "use_cache" in self._signature.names else {}
        with self._explained(_transformers(module), rows):
            outputs = name_outputs(module(**rows.tensors, **no_cache))
        if rows.from_text and self.task == FEATURE_EXTRACTION and "last_hidden_state" in outputs:
            mask = rows.tensors["attention_mask"]
            embedding = self._pooling.embed(outputs["last_hidden_state"], mask)
            return {**outputs, "embedding": embedding, "token_count": mask.sum(1)}
        if rows.from_text and self.task == TEXT_CLASSIFICATION:
            return {**outputs, **classify(_transformers(module).config, outputs["logits"])}
        if rows.from_text and self.task == TEXT_GENERATION:
            mask = rows.tensors.get("attention_mask")
            return {**outputs, **next_tokens(outputs, mask, self._need_text(("inputs", "text")).decode_all)}
        return outputs

    def default_outputs(self, inputs: Inputs) -> tuple[str, ...] | None:
        return OUTPUTS_OF_TEXT.get(self.task) if inputs.has_text and self.task else None

    def example(self, module: nn.Module) -> Rows | None:
        if self._text is None or "input_ids" not in self._signature.names:
            return None
        limit = self._limit(self._text)
        texts = EXAMPLE_TEXTS if limit is None or limit >= LONG_ENOUGH else SHORT_TEXTS
        rows = self.read(module, Inputs(texts=texts))
        begun = first_decoder_inputs(_transformers(module), self._signature.names, len(EXAMPLE_TEXTS))
        return replace(rows, tensors={**rows.tensors, **begun})

    def writer(self, module: nn.Module) -> Writer | None:
        writes = self._writes and self._text is not None
        return writer_of(_transformers(module), self._need_text(()), self._reads_images) if writes else None

    def prompts(self, inputs: Inputs, parameters: Mapping[str, Any]) -> tuple[Prompt, ...]:
        self._check_writing(inputs)
        text, wanted = self._need_text(("parameters",)), parse_parameters(parameters)
        if not inputs.has_text:
            return (Prompt((), self._tables.decoder.room_for(wanted.length)),) * inputs.count
        if inputs.shows and self._vision is not None:
            limit = self._limit(text)
            lengths = self._vision.rows(inputs, limit, wanted.room)["attention_mask"].sum(1).tolist()
            return tuple(Prompt((0,) * n, wanted.length if limit is None else limit - n) for n in lengths)
        if self.task == TEXT_TO_TEXT:
            read = prompts_of(inputs, wanted, text, self._limit(text), self._tables, 0)
            return tuple(Prompt(prompt.ids, self._tables.decoder.room_for(wanted.length)) for prompt in read)
        return prompts_of(inputs, wanted, text, self._limit(text), self._tables, wanted.room)

    def generate(
        self,
        module: nn.Module,
        inputs: Inputs,
        parameters: Mapping[str, Any],
        stopped: Callable[[], bool],
        places: Sequence[int] = (),
    ) -> tuple[str, ...]:
        model, wanted = _transformers(module), parse_parameters(parameters)
        beginning, text = self._beginning(model, inputs, wanted), self._need_text(("parameters",))
        own_ends, before = end_ids(model), beginning.before.to(model.device)
        numbered = places or range(inputs.count)
        arguments = generate_arguments(wanted, before, beginning.room, own_ends, text.decode, stopped, numbered)
        tokens = beginning.generate(model, arguments)
        written = until_end(tokens[:, before.shape[1] :], wanted.ends(own_ends))
        return tuple(wanted.cut(text) for text in text.decode(written))

    def write(self, module: nn.Module, inputs: Inputs, parameters: Mapping[str, Any], drawer: TokenDrawer) -> None:
        model = _transformers(module)
        beginning = self._beginning(model, inputs, parse_parameters(parameters))
        beginning.generate(model, drawn_arguments(drawer, beginning.room))

    def _beginning(self, model: PreTrainedModel, inputs: Inputs, wanted: GenerationParameters) -> TextBeginning:
        """Raises `Invalid`."""
        self._check_writing(inputs)
        text = self._need_text(("parameters",))
        if not inputs.has_text:
            return TextBeginning.of_encoded(self.read(model, inputs).tensors, inputs.count, wanted, self._tables)
        limit = self._limit(text)
        if inputs.shows and self._vision is not None:
            return TextBeginning.of_images(self._vision.rows(inputs, limit, wanted.room), wanted, limit)
        if self.task == TEXT_TO_TEXT:
            rows = text.rows(inputs, limit)
            encoded = {name: rows[name] for name in ("input_ids", "attention_mask")}
            return TextBeginning.of_encoded(encoded, inputs.count, wanted, self._tables)
        return TextBeginning.of_prompts(inputs, wanted, text, limit)

    def joins(self, parameters: Mapping[str, Any]) -> bool:
        return self._writes and not parse_parameters(parameters).minds_company

    def _required(self, model: PreTrainedModel, given: Mapping[str, Tensor]) -> list[str]:
        """What no forward of the model does without; anything else shows in what it raises."""
        name = model.main_input_name
        return [] if {"inputs_embeds", "encoder_outputs"} & {*given} or name not in self._signature.names else [name]

    def _load(self, dtype: torch.dtype | None) -> PreTrainedModel:
        more: dict[str, Any] = {} if self._num_labels is None else {"num_labels": self._num_labels}
        if self._file:
            more |= {"gguf_file": self._file, "quantization_config": GgufConfig(dequantize=True)}
        try:
            with seeded():
                module, report = self._builder.from_pretrained(
                    self._directory,
                    dtype=dtype or "auto",
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    output_loading_info=True,
                    **more,
                )
        except MemoryError:
            raise
        except Exception as error:  # transformers raises many kinds here; each says what is wrong with the files
            message = f"transformers can't load {self._directory.name}: {in_short(error)}"
            if NO_SUCH_CLASS in message:
                message += f" Name a task that this architecture has instead of {self.task}, or leave task out."
            raise Invalid(message, [Fault(("source", "path"), message)]) from error
        self.absent_head = self._find_absent_head(module, report["missing_keys"])
        return module

    def _find_absent_head(self, module: PreTrainedModel, missing: set[str]) -> AbsentHead | None:
        """Raises `Invalid` where other weights are missing than those that adapters of the task bring."""
        if self.task not in TASKS_WITH_LABELS or not missing or not is_head(module, missing):
            check_complete(module, missing)
            return None
        declared = None if self._file else declared_labels(self._directory)
        return absent_head_of(module, missing, self._num_labels or declared)

    @contextmanager
    def _explained(self, model: PreTrainedModel, rows: Rows) -> Generator[None]:
        known = [name for name in self._signature.names if name not in NOT_INPUTS]
        try:
            with named_inputs(rows.tensors, known):
                yield
        except Invalid as error:
            if not lacks_decoder_inputs(model, known, rows.tensors):
                raise
            # What the library says then is true of its own call, not of what was sent.
            raise missing_decoder_inputs(model, rows.from_text, self.task == TEXT_TO_TEXT) from error

    def _check_writing(self, inputs: Inputs) -> None:
        """Raises `Invalid` unless `parameters` have a model that writes, and something to write about."""
        if not self._writes:
            message = f"This base model doesn't write texts, because its task is {self.task}. Ask for no text (without "
            message += f"`parameters`), or ask a base model with the task {' or '.join(sorted(WRITING_TASKS))}."
            raise Invalid(message, [Fault(("parameters",), message)])
        if not (inputs.tensors if self.task == SPEECH_RECOGNITION else inputs.has_text):
            needs = "the named tensors of its forward" if inputs.has_text else "inputs.text or inputs.messages"
            message = f"parameters ask for text, and there is nothing to continue: give {needs}."
            raise Invalid(message, [Fault(("inputs", "text"), message)])

    @property
    def _reads_images(self) -> bool:
        return self.task == IMAGE_TEXT_TO_TEXT

    def _limit(self, text: Text) -> int | None:
        return min((limit for limit in (self._tables.inputs.positions, text.limit) if limit is not None), default=None)

    def _need_text(self, loc: tuple[str, ...]) -> Text:
        if self._text is None:
            message = "There is no tokenizer beside this base model; send named tensors instead of text."
            raise Invalid(message, [Fault(loc, message)])
        return self._text


def _transformers(module: nn.Module) -> PreTrainedModel:
    if not isinstance(module, PreTrainedModel):
        raise TypeError(f"HuggingFaceSpec was given a {type(module).__name__} that it didn't build.")
    return module


def _is_whole(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and tensor.dtype is not torch.bool
