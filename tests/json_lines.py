# SPDX-License-Identifier: Apache-2.0
"""Lines of JSON against docs/jsonl.schema.json: what is in them, and that nothing is in them that it does not name."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "jsonl.md"
SCHEMA = PAGE.with_suffix(".schema.json")


def faults(line: dict[str, Any]) -> list[str]:
    """What the schema holds against a line, with where; a field that it does not name too."""
    return [f"{error.json_path}: {error.message}" for error in _validator(line["type"]).iter_errors(line)]


def fields(kind: str) -> set[str]:
    """Names of the fields of a kind of line, those of its objects included."""
    schema = json.loads(SCHEMA.read_text())
    return _names(schema["$defs"][kind], schema["$defs"])


@cache
def _validator(kind: str) -> Draft202012Validator:
    schema = _strict(json.loads(SCHEMA.read_text()))
    Draft202012Validator.check_schema(schema)
    # The one of its kind: of two forms that both do not fit it would only be said that none does.
    del schema["oneOf"]
    return Draft202012Validator({**schema, "$ref": f"#/$defs/{kind}"}, format_checker=FormatChecker())


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _strict(part) for name, part in schema.items()}
    return {**made, "additionalProperties": False} if "required" in made and "properties" in made else made


def _names(schema: dict[str, Any], known: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        schema = known[schema["$ref"].rpartition("/")[2]]
    found = set(schema.get("properties", ()))
    for part in schema.get("properties", {}).values():
        found |= _names(part, known)
    return found
