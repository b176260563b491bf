"""Requests for text on their way to the engine: their prompts as tokens, the form that their texts are held to."""

from collections.abc import Mapping
from typing import Any

from models_registry.base_models.generation import parse_parameters
from models_registry.base_models.spec import BaseModelSpec
from models_registry.base_models.writing import Prompt, Writer
from models_registry.inputs.values import Inputs
from service.host.generation.grammar import Grammar
from service.host.generation.grammar_compiler import GrammarCompiler


class TextReader:
    """Of one hosted model. Any thread may read but the model's own, for a form may take seconds to compile."""

    def __init__(self, spec: BaseModelSpec, writer: Writer) -> None:
        self._spec = spec
        vocabulary = writer.model.config.get_text_config().vocab_size
        self._compiler = GrammarCompiler(writer.tokenizer, vocabulary, writer.end_ids)

    def read(self, inputs: Inputs, parameters: Mapping[str, Any]) -> tuple[tuple[Prompt, ...], Grammar | None]:
        """Raises `Invalid` for texts that are too long and for a form that can't be compiled."""
        prompts, wanted = self._spec.prompts(inputs, parameters), parse_parameters(parameters)
        return prompts, None if wanted.constraint is None else self._compiler.compile(wanted.constraint)
