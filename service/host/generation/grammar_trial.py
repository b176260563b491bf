"""A process that compiles a grammar for trial: what would take too long or too much memory ends it, not its host.

Started by grammar.py, with the grammar on its standard input; it imports little, and ends with 0 where the grammar may
be compiled. What is wrong with a grammar otherwise, compiling it says.
"""

import resource
import sys
import threading
from typing import Final

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

CPU_SECONDS: Final = 2
MEMORY_BYTES: Final = 1 << 30
"""Of addresses; the interpreter and its libraries take a part of them."""
STACK_BYTES: Final = 1 << 21
"""Less than the threads have that compile it afterwards, for whom it is as deep."""


def parser_limits() -> LLParserLimits:
    """They bound one step's time, which all other texts of the model wait for, to tens of milliseconds, and what a
    grammar keeps in memory to some 40 MB."""
    return LLParserLimits(
        max_items_in_row=500,
        initial_lexer_fuel=200_000,
        step_lexer_fuel=50_000,
        step_max_items=10_000,
        max_lexer_states=20_000,
        max_grammar_size=50_000,
        precompute_large_lexemes=False,
        verbose_errors=False,
    )


class _Bytes:
    """A tokenizer whose tokens are the bytes."""

    eos_token_id = 256
    bos_token_id = None
    tokens: Final = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (256,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(STACK_BYTES)
    compiling = threading.Thread(target=_compile, args=(sys.stdin.read(),))
    compiling.start()
    compiling.join()


def _compile(grammar: str) -> None:
    tokenizer = LLTokenizer(TokenizerWrapper(_Bytes()), slices=[])
    LLMatcher(tokenizer, grammar, log_level=0, limits=parser_limits()).compute_bitmask()


if __name__ == "__main__":
    main()
