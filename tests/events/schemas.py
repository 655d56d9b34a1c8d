"""What `docs/asyncapi.yaml` says of a message, as a check of real ones."""

from typing import Any

import jsonschema_rs


def validator_of(document: dict[str, Any], name: str) -> jsonschema_rs.Draft7Validator:
    """The check of a schema, or of a message's payload, by its name in the document; formats count."""
    messages = document["components"]["messages"]
    payload = messages[name]["payload"] if name in messages else {"$ref": f"#/components/schemas/{name}"}
    return jsonschema_rs.Draft7Validator(
        {"allOf": [payload], "components": document["components"]}, validate_formats=True
    )


def fields_of(document: dict[str, Any], name: str) -> set[str]:
    """Every field that a schema names."""
    return set(document["components"]["schemas"][name]["properties"])
