"""Builds `docs/asyncapi.yaml`: `python -m tests.events.asyncapi` writes it anew.

Shapes come from the contracts, words and examples from `docs/events.md`. So there is one place for each.
"""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import yaml

from shared.contracts.budgets import BudgetCrossed
from shared.contracts.keys import KeysChanged
from shared.contracts.receipts import ReceiptIssued
from shared.contracts.registry import RegistryPublished
from shared.contracts.topics import (
    BUDGETS_CROSSED,
    KEYS_CHANGED,
    RECEIPTS_ISSUED,
    REGISTRY_PUBLISHED,
    RETENTION,
    TOPICS,
    USAGE_DEAD,
    USAGE_LOGGED,
    USAGE_RATED,
    WEBHOOKS_CHANGED,
    WEBHOOKS_DISABLED,
)
from shared.contracts.usage import CostLine, UsageLogged, UsageRated
from shared.contracts.webhooks import WebhookChanged, WebhookDisabled
from shared.event_log.dead_letter import OFFSET_HEADER, PARTITION_HEADER, TOPIC_HEADER
from tests.docs.pages import ROOT, Page, get_page, list_rows
from tests.events.words import SCHEMAS, first_paragraph, list_fields, plain, section_text

PATH: Final = ROOT / "docs" / "asyncapi.yaml"
PAGE: Final = "docs/events.md"
BINDING: Final = "0.5.0"

ALWAYS_THERE: Final = (TOPIC_HEADER, PARTITION_HEADER, OFFSET_HEADER)
ACCOUNT_KEY: Final = {"type": "string", "format": "uuid", "description": "account_id, as text"}
TRACEPARENT: Final = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"


class Channel(NamedTuple):
    """What the contracts do not say about a topic.

    Attributes:
        contract: the value's Struct, or None where the value has no shape.
        key: the schema of a record's key.
        groups: the consumer groups of ours that share its partitions.
    """

    contract: type[msgspec.Struct] | None
    key: dict[str, Any]
    groups: tuple[str, ...] = ()


CHANNELS: Final = {
    USAGE_LOGGED: Channel(UsageLogged, ACCOUNT_KEY, ("rater",)),
    USAGE_RATED: Channel(UsageRated, ACCOUNT_KEY, ("issuer",)),
    USAGE_DEAD: Channel(None, {"type": "string", "description": "the original's"}),
    RECEIPTS_ISSUED: Channel(ReceiptIssued, ACCOUNT_KEY),
    BUDGETS_CROSSED: Channel(BudgetCrossed, ACCOUNT_KEY, ("webhooks",)),
    WEBHOOKS_CHANGED: Channel(WebhookChanged, ACCOUNT_KEY, ("auth-audit",)),
    WEBHOOKS_DISABLED: Channel(WebhookDisabled, ACCOUNT_KEY, ("auth-mails",)),
    REGISTRY_PUBLISHED: Channel(RegistryPublished, {"type": "string", "const": "registry"}, ("webhooks",)),
    KEYS_CHANGED: Channel(
        KeysChanged,
        {"type": "string", "format": "binary", "description": "account_id, as its 16 bytes"},
        ("webhooks",),
    ),
}
DEAD_MESSAGE: Final = "UsageDead"
SECTION_OF: Final = {CostLine.__name__: "A line of `cost_breakdown`"} | {
    channel.contract.__name__: f"`{topic}`" for topic, channel in CHANNELS.items() if channel.contract
}


def build_document() -> dict[str, Any]:
    """The AsyncAPI document, as JSON would have it."""
    page = get_page(PAGE)
    topics = {row[0].strip("`"): row for row in list_rows(page.prose, "topic")}
    assert list(CHANNELS) == list(topics)
    assert CHANNELS.keys() == TOPICS.keys()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "LLMRing API: events",
            "version": "1",
            "description": first_paragraph(page, "Events")
            + "\n\nEvery record may come twice; records with one key keep their order."
            + " Ignore fields and headers that you do not know.",
            "license": {"name": "MIT"},
            "externalDocs": {
                "description": "The same in words, and how to read it",
                "url": "https://github.com/llmring/llmring-api/blob/main/docs/events.md",
            },
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "The brokers in LLMRING_KAFKA_BOOTSTRAP.",
                "variables": {"bootstrap": {"default": "localhost:9092"}},
            }
        },
        "channels": {_id(topic): _channel(page, topic, row) for topic, row in topics.items()},
        "operations": _operations(topics),
        "components": {
            "messages": {_message_name(topic): _message(page, topic) for topic in CHANNELS},
            "schemas": _schemas(page) | _header_schemas(page),
        },
    }


def contract_schemas() -> dict[str, dict[str, Any]]:
    """The JSON schemas of the contracts, by name, as msgspec has them."""
    contracts = [channel.contract for channel in CHANNELS.values() if channel.contract]
    _, schemas = msgspec.json.schema_components(contracts, ref_template=SCHEMAS + "{name}")
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(schemas))
    return plain


def write_document() -> str:
    """The document as text."""
    header = "# Written by `python -m tests.events.asyncapi` from docs/events.md and shared/contracts.\n"
    text = yaml.dump(
        build_document(), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True, indent=2
    )
    return header + text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # what occurs twice is written twice
        return True


def _write_text(dumper: _Dumper, text: str) -> yaml.Node:
    """Text of several lines as a block that people can read."""
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _write_text)


def _channel(page: Page, topic: str, row: list[str]) -> dict[str, Any]:
    name = _message_name(topic)
    return {
        "address": topic,
        "summary": plain(row[3]).capitalize() + ".",
        "description": section_text(page, f"`{topic}`"),
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "kafka": {
                "topic": topic,
                "partitions": TOPICS[topic],
                "topicConfiguration": {"retention.ms": _retention_ms(topic)},
                "bindingVersion": BINDING,
            }
        },
    }


def _retention_ms(topic: str) -> int:
    """As Kafka writes it: -1 is for ever."""
    retention = RETENTION[topic]
    return -1 if retention is None else retention // timedelta(milliseconds=1)


def _operations(topics: dict[str, list[str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for topic, row in topics.items():
        channel = {"$ref": f"#/channels/{_id(topic)}"}
        found[f"send{_message_name(topic)}"] = {
            "action": "send",
            "channel": channel,
            "summary": f"Written by {row[4]}.",
        }
        for group in CHANNELS[topic].groups:
            found[f"{group}Receives{_message_name(topic)}"] = {
                "action": "receive",
                "channel": channel,
                "summary": f"Read by the group {group}. Others read it with a group of their own.",
                "bindings": {
                    "kafka": {
                        "groupId": {"type": "string", "enum": [group]},
                        "bindingVersion": BINDING,
                    }
                },
            }
    return found


def _message(page: Page, topic: str) -> dict[str, Any]:
    channel = CHANNELS[topic]
    message: dict[str, Any] = {
        "name": topic,
        "title": _message_name(topic),
        "contentType": "application/json",
        "headers": {"$ref": SCHEMAS + _headers_name(topic)},
        "bindings": {"kafka": {"key": channel.key, "bindingVersion": BINDING}},
    }
    if channel.contract is None:
        return message | {
            "contentType": "application/octet-stream",
            "payload": {"description": "The bytes of the original, which could not be read or stored."},
        }
    name = channel.contract.__name__
    example = {
        field.name: field.example
        for contract in reversed(channel.contract.__mro__)
        if contract.__name__ in SECTION_OF
        for field in list_fields(page, SECTION_OF[contract.__name__])
    }
    return message | {"payload": {"$ref": SCHEMAS + name}, "examples": [{"name": name, "payload": example}]}


def _schemas(page: Page) -> dict[str, Any]:
    schemas = contract_schemas()
    words = {name: {field.name: field for field in list_fields(page, SECTION_OF[name])} for name in schemas}
    words[UsageRated.__name__] = words[UsageLogged.__name__] | words[UsageRated.__name__]
    for name, schema in schemas.items():
        schema["description"] = first_paragraph(page, SECTION_OF[name]) or plain(SECTION_OF[name])
        for field, properties in schema["properties"].items():
            properties["description"] = words[name][field].description
            properties["examples"] = [words[name][field].example]
    return schemas


def _header_schemas(page: Page) -> dict[str, Any]:
    rows = list_rows(page.sections()["Headers"], "header")
    found = {}
    for topic in CHANNELS:
        properties: dict[str, Any] = {}
        for names, on, meaning, *_ in rows:
            if f"`{topic}`" in on:
                for name in re.findall(r"`([^`]+)`", names):
                    properties[name] = {"type": "string", "description": plain(meaning)}
        if "traceparent" in properties:
            properties["traceparent"]["pattern"] = TRACEPARENT
        required = [name for name in properties if name in ALWAYS_THERE]
        found[_headers_name(topic)] = {"type": "object", "properties": properties} | (
            {"required": required} if required else {}
        )
    return found


def _message_name(topic: str) -> str:
    contract = CHANNELS[topic].contract
    return DEAD_MESSAGE if contract is None else contract.__name__


def _headers_name(topic: str) -> str:
    return f"{_message_name(topic)}Headers"


def _id(topic: str) -> str:
    name = _message_name(topic)
    return name[0].lower() + name[1:]


if __name__ == "__main__":
    Path(PATH).write_text(write_document(), encoding="utf-8")
