"""What the form of a generated text is held to: a JSON schema, any JSON object, a pattern, a choice, or a grammar."""

import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_CHARACTERS = 1 << 16
"""Of a schema as JSON, and of a grammar."""

Choice = Annotated[str, Field(min_length=1, max_length=256)]


class Constraint(BaseModel):
    """Exactly one of these. `lark` is llguidance's dialect of Lark, in which `%json {…}` embeds a schema."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    json_schema: dict[str, Any] | None = None
    json_object: Literal[True] | None = None
    regex: str | None = Field(default=None, min_length=1, max_length=4096)
    choice: list[Choice] | None = Field(default=None, min_length=1, max_length=256)
    lark: str | None = Field(default=None, min_length=1, max_length=MAX_CHARACTERS)

    @property
    def schema_text(self) -> str | None:
        """The JSON schema, where it is one."""
        if self.json_object:
            return '{"type": "object"}'
        return None if self.json_schema is None else json.dumps(self.json_schema)

    @property
    def pattern(self) -> str | None:
        """The regular expression, where it is one."""
        return self.regex if self.choice is None else "|".join(map(re.escape, self.choice))

    @field_validator("json_schema")
    @classmethod
    def _check_size(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            size = len(json.dumps(schema))
        except (RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"The schema can't be written as JSON: {error}") from error
        if size > MAX_CHARACTERS:
            raise ValueError(f"The schema has {size} characters as JSON; at most {MAX_CHARACTERS} are taken")
        return schema

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(type(self).model_fields)}, not {len(given)}")
        return self
