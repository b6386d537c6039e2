"""Loaded by schemathesis itself (see test_contract): which of its findings are none."""

from collections.abc import Iterator
from typing import Any

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

Schema = dict[str, Any]


@schemathesis.hook
def filter_failure(
    _context: schemathesis.HookContext,
    failure: Exception,
    case: "schemathesis.Case[Any]",
    response: schemathesis.Response,
) -> bool:
    """A request that fits the schema may be refused by a rule that JSON Schema can't say.

    "In the future" is one. The document then says it in words: the problem has a code of its own
    that this operation documents, or the input's description says what it "must" be.
    """
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 422:
        return True
    problem = response.json()
    operation: Schema = case.operation.definition.raw
    if problem["code"] != "validation_failed":
        return f"`{problem['code']}`" not in operation["responses"]["422"]["description"]
    faults = problem.get("errors", [])
    root: Schema = case.operation.schema.raw_schema
    return not faults or not all(
        any("must" in text.lower() for text in _descriptions(operation, fault["field"], root))
        for fault in faults
    )


def _descriptions(operation: Schema, field: str, root: Schema) -> Iterator[str]:
    """What the document says about an input such as `body.url` or `query.since`."""
    place, *path = field.split(".")
    if place == "body":
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield from _walk(content["schema"], path, root)
        return
    for parameter in operation.get("parameters", []):
        if [parameter["in"], parameter["name"]] == [place, *path[:1]]:
            yield parameter.get("description", "")
            yield from _walk(parameter["schema"], path[1:], root)


def _walk(schema: Schema, path: list[str], root: Schema) -> Iterator[str]:
    if "$ref" in schema:
        target = root["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        yield from _walk(target, path, root)
    for branch in schema.get("anyOf", []):
        yield from _walk(branch, path, root)
    if not path:
        yield schema.get("description", "")
    elif path[0] in schema.get("properties", {}):
        yield from _walk(schema["properties"][path[0]], path[1:], root)
    elif path[0].isdigit() and "items" in schema:
        yield from _walk(schema["items"], path[1:], root)
