"""What pydantic says of a value, in JSON's words instead of Python's."""

import re
from collections.abc import Mapping
from typing import Any

_WANTED = {
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
    "mapping_type": "an object",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "none_required": "null",
}
"""What a value of another type should have been, by pydantic's name of the error."""
_CONSTANTS = {"None": "null", "True": "true", "False": "false"}
_TAG = re.compile(r"Input tag (.*) found using '(\w+)' does not match any of the expected tags: (.*)", re.DOTALL)
"""A union whose forms are told apart by a field: the field, and not the whole, holds the wrong value."""
_CONSTANT = re.compile(r"\b(?:None|True|False)\b")


def in_words(error: Mapping[str, Any]) -> str:
    """The message of one of pydantic's errors."""
    kind, message = str(error["type"]), str(error["msg"])
    if kind in _WANTED:
        return f"Input should be {_WANTED[kind]}"
    if kind == "union_tag_invalid" and (found := _TAG.fullmatch(message)):
        given, field, tags = found.groups()
        return f"{field} should be one of {tags}, not {given}"
    if kind == "literal_error":
        return _CONSTANT.sub(lambda found: _CONSTANTS[found[0]], message)
    if kind == "too_short":  # of an object pydantic says that it is a dictionary
        return message.replace("Dictionary", "Object").replace(" after validation", "")
    return message.removeprefix("Value error, ")


def is_of_type(error: Mapping[str, Any]) -> bool:
    """Whether the value is of another type than it should be, whatever it holds."""
    return str(error["type"]).endswith("_type") or error["type"] == "none_required"
