"""`docs/asyncapi.yaml` is valid and up to date, and says of each event what contracts and page say."""

import copy
import subprocess
from typing import Any

import jsonschema_rs
import pytest
import yaml

from shared.contracts.topics import TOPICS
from tests.docs.pages import get_page
from tests.events.asyncapi import (
    CHANNELS,
    PAGE,
    PATH,
    SECTION_OF,
    contract_schemas,
    write_document,
)
from tests.events.schemas import validator_of
from tests.events.words import describe_type, list_fields

TEXT = PATH.read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)
CONTRACTS = contract_schemas()


def run_validator(command: list[str], text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


def test_the_document_is_up_to_date() -> None:
    assert write_document() == TEXT, "write it anew: python -m tests.events.asyncapi"


def test_the_document_is_valid(validator: list[str]) -> None:
    found = run_validator(validator, TEXT)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_validator_refuses_a_document_with_a_mistake(validator: list[str]) -> None:
    for mistake in (
        TEXT.replace("action: send", "action: publish", 1),
        TEXT.replace("#/components/messages/UsageRated", "#/components/messages/Nothing", 1),
        TEXT.replace("type: integer", "type: whole", 1),
    ):
        assert mistake != TEXT
        found = run_validator(validator, mistake)
        assert found.returncode == 1, found.stdout + found.stderr
        assert "error" in found.stdout


def test_every_topic_is_a_channel_with_its_partitions() -> None:
    assert {
        channel["address"]: channel["bindings"]["kafka"]["partitions"]
        for channel in DOCUMENT["channels"].values()
    } == TOPICS


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_schema_is_that_of_the_contract(name: str) -> None:
    schema = copy.deepcopy(DOCUMENT["components"]["schemas"][name])
    contract = CONTRACTS[name]
    for properties in schema["properties"].values():
        del properties["description"], properties["examples"]
    assert schema["properties"] == contract["properties"]
    assert list(schema["properties"]) == list(contract["properties"])
    assert schema["required"] == contract["required"]
    assert schema["type"] == contract["type"] == "object"
    assert "additionalProperties" not in schema  # fields may be added, and readers ignore them


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_page_has_the_type_the_meaning_and_an_example_of_every_field(name: str) -> None:
    properties = CONTRACTS[name]["properties"]
    fields = list_fields(get_page(PAGE), SECTION_OF[name])
    assert fields
    for field in fields:
        assert field.kind == describe_type(properties[field.name]), field
        assert field.meaning, field
        assert bool(field.unit) == _has_unit(field.name, field.kind), field


def _has_unit(field: str, kind: str) -> bool:
    is_amount = field.endswith(("cost", "usd", "usd_per_million", "amount", "spent"))
    return kind.startswith("date-time") or is_amount or field.endswith(("tokens", "_ms"))


@pytest.mark.parametrize("topic", [topic for topic, channel in CHANNELS.items() if channel.contract])
def test_the_example_of_an_event_is_one(topic: str) -> None:
    [channel] = [each for each in DOCUMENT["channels"].values() if each["address"] == topic]
    [message] = channel["messages"]
    [example] = DOCUMENT["components"]["messages"][message]["examples"]
    contract = CHANNELS[topic].contract
    assert contract is not None
    assert example["payload"].keys() == set(contract.__struct_fields__)
    validator_of(DOCUMENT, message).validate(example["payload"])
    assert not validator_of(DOCUMENT, message).is_valid({**example["payload"], "v": "1"})


def test_the_schemas_are_themselves_valid() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid(schema | {"$schema": "http://json-schema.org/draft-07/schema#"}), (
            name
        )
