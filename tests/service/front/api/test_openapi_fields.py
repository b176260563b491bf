"""The OpenAPI document's fields and parameters: a reader, and whoever generates a client, knows what each may be."""

from typing import Any

from openapi_file import committed_document

DOCUMENT = committed_document()


def test_every_parameter_says_what_it_is_and_what_it_may_be() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", []):
                described = {**parameter["schema"], **parameter}
                assert {"title", "description", "examples"} <= described.keys(), (method, path, parameter["name"])


def test_every_field_says_what_it_is_and_what_it_may_be() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            assert {"title", "description"} <= described.keys(), (name, field)
            # What refers to another schema, or is one of a few words, shows what it may be.
            assert {"examples", "enum", "const", "$ref"} & words_of(described), (name, field)


def words_of(schema: dict[str, Any]) -> set[str]:
    """Its keywords, and those of what it holds or may be."""
    inner = [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]
    return {*schema}.union(*map(words_of, inner))


def test_a_problem_has_one_of_the_types_that_are_listed() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert {"not-found", "invalid", "damaged-blob"} <= set(schemas["Problem"]["properties"]["type"]["enum"])
