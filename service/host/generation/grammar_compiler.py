"""Forms that texts are held to, compiled by llguidance for one base model's tokens.

Compiling may take long and a lot of memory; each form is first compiled for trial, in a process with limits.
"""

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Collection
from typing import Final

from cachetools import LRUCache
from llguidance import LLMatcher, LLTokenizer, regex_to_lark
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from models_registry.base_models.constraint import Constraint
from models_registry.errors import Invalid, Unsupported
from models_registry.records import Fault
from service.host.generation import grammar_trial
from service.host.generation.grammar import LOC, Grammar, short_reason
from service.host.generation.grammar_trial import CPU_SECONDS, MEMORY_BYTES, parser_limits

log = logging.getLogger(__name__)

KEPT: Final = 16
"""So many compiled grammars, and reasons why others can't be compiled, are kept for further requests."""
BLANKS: Final = r"[\x20\x0A\x0D\x09]{1,40}"
"""Between JSON's tokens. Without a bound, small models write blanks until no room is left."""
ASCII: Final = "dw"
"""Digits and word characters are ASCII's, as in JSON schemas' patterns."""
PATIENCE_S: Final = 60.0
"""For a trial that gets no processor."""


class GrammarCompiler:
    """Of one base model. Any thread may call it but the model's own, which others wait for."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int, end_ids: Collection[int]) -> None:
        """`vocabulary` is how many tokens the model has scores for; `end_ids` are those that end a text."""
        self._hf_tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._end_ids = sorted(id for id in end_ids if id < vocabulary)
        self._tokenizer: LLTokenizer | None = None
        self._known: LRUCache[str, Grammar | str] = LRUCache(KEPT)
        self._making = threading.Lock()
        self._looking = threading.Lock()

    def compile(self, constraint: Constraint) -> Grammar:
        """Its beginning. Raises `Invalid` where the constraint can't be compiled, or takes too much, and `Unsupported`
        where the model's tokenizer is none that llguidance knows."""
        text = _grammar_of(constraint)
        with self._looking:
            known = self._known.get(text)
        if known is None:
            known = self._compile(text)
            with self._looking:
                self._known[text] = known
        if isinstance(known, str):
            message = f"The constraint can't be compiled: {known}"
            raise Invalid(message, [Fault(LOC, message)])
        return known.fresh()

    def _compile(self, text: str) -> Grammar | str:
        """What is wrong with it otherwise."""
        tokenizer = self._own_tokenizer()
        if reason := _too_much(text):
            return reason
        matcher = LLMatcher(tokenizer, text, log_level=0, limits=parser_limits())
        if not matcher.is_error():
            matcher.compute_bitmask()
        return short_reason(matcher.get_error()) if matcher.is_error() else Grammar(matcher)

    def _own_tokenizer(self) -> LLTokenizer:
        """Made once it is needed, for that takes half a second."""
        with self._making:
            if self._tokenizer is None:
                self._tokenizer = _tokenizer_for(self._hf_tokenizer, self._vocabulary, self._end_ids)
            return self._tokenizer


def _tokenizer_for(tokenizer: PreTrainedTokenizerBase, vocabulary: int, end_ids: list[int]) -> LLTokenizer:
    reason = f"{type(tokenizer).__name__} is not written in Rust"
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        try:
            return from_tokenizer(tokenizer, max(vocabulary, len(tokenizer)), end_ids or None)
        except ValueError as error:
            reason = f"{error}"
    message = f"This base model's tokenizer can't hold texts to a form ({reason}); leave the constraint out."
    raise Unsupported(message, [Fault(LOC, message)])


def _grammar_of(constraint: Constraint) -> str:
    """In llguidance's own form."""
    if (schema := constraint.schema_text) is not None:
        return LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_pattern": BLANKS})
    if (pattern := constraint.pattern) is not None:
        return LLMatcher.grammar_from_lark(f"start: /{regex_to_lark(pattern, ASCII)}/")
    return LLMatcher.grammar_from_lark(constraint.lark or "")


def _too_much(grammar: str) -> str | None:
    """What a trial of it ended by, if it did not end by itself."""
    command = [sys.executable, "-I", grammar_trial.__file__]
    try:
        ended = subprocess.run(  # noqa: S603 - our own interpreter, our own module
            command, input=grammar.encode(), timeout=PATIENCE_S, check=False, capture_output=True, env={}
        )
    except subprocess.TimeoutExpired:
        return f"it takes more than {PATIENCE_S:.0f} s."
    match -ended.returncode:
        case 0:
            return None
        case signal.SIGXCPU | signal.SIGKILL:
            return f"it takes more than {CPU_SECONDS} s of a processor; make it simpler."
        case signal.SIGSEGV:
            return "it is nested too deeply."
        case signal.SIGABRT:
            return f"it takes more than {MEMORY_BYTES >> 20} MiB; make it simpler."
        case code:
            log.error("the trial of a grammar ended with %d: %s", -code, ended.stderr.decode(errors="replace"))
            return "its trial failed; the service's log says why."
