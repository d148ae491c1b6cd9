"""Builds the OpenAPI document, with an example for each operation."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any, Final, TypeAlias, cast

from flask_openapi3.openapi import OpenAPI

from hkall_gateway.web.api import access

Json: TypeAlias = dict[str, Any]
JSON: Final = "application/json"
_CONVERTER: Final = re.compile(r"<(?:\w+:)?(\w+)>")


def describe(api: OpenAPI) -> Json:
    """Return the API's OpenAPI document, with the examples in `examples.json` added to the operations."""
    document = cast("Json", api.api_doc)
    examples = json.loads(resources.files(__package__).joinpath("examples.json").read_text(encoding="utf-8"))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            example = examples[f"{method.upper()} {path}"]
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in example["parameters"]:
                    parameter["example"] = example["parameters"][parameter["name"]]
            if "body" in example:
                operation["requestBody"]["content"][JSON]["example"] = example["body"]
            if "response" in example:
                success = next(status for status in operation["responses"] if status.startswith("2"))
                operation["responses"][success]["content"][JSON]["example"] = example["response"]
    return document


def documentation(api: OpenAPI) -> tuple[Json, dict[str, list[Json]]]:
    """Return the OpenAPI document, and by tag the operations with the data that the documentation page shows."""
    document, tags = describe(api), dict[str, list[Json]]()
    callers = {
        (method, _CONVERTER.sub(r"{\1}", rule.rule)): access.ROLES[rule.endpoint]
        for rule in api.url_map.iter_rules()
        for method in rule.methods or ()
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            status, response = next(row for row in operation["responses"].items() if row[0].startswith("2"))
            caller = callers[method.upper(), path]
            row = {
                **operation,
                "caller": caller.value if isinstance(caller, access.Audience) else caller.word,
                "name": f"{method.upper()} {path}",
                "inputs": _inputs(document, operation),
                "body": operation.get("requestBody", {}).get("content", {}).get(JSON),
                "status": status,
                "response": response.get("content", {}).get(JSON),
            }
            tags.setdefault(operation["tags"][0], []).append(row)
    return document, tags


def _inputs(document: Json, operation: Json) -> list[Json]:
    """Return an operation's parameters and the fields in its request body, as OpenAPI parameters."""
    found = [{"description": "", **parameter} for parameter in operation.get("parameters", ())]
    if "requestBody" in operation:
        name = operation["requestBody"]["content"][JSON]["schema"]["$ref"].rpartition("/")[2]
        body = document["components"]["schemas"][name]
        for field, schema in body["properties"].items():
            required = field in body.get("required", ())
            found.append({"description": "", **schema, "name": field, "in": "body", "schema": schema, "required": required})
    return found
