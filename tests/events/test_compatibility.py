"""Events can be read by whoever could read the first ones, and what was written first can still be read.

`first_version.json` has each event as it was in the first version: its fields, and one as it was written. It
is never edited, except to add an event that is new.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.contracts.usage import CostLine
from tests.events.asyncapi import CHANNELS, contract_schemas
from tests.events.words import describe_type

FIRST: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("first_version.json").read_text())
SCHEMAS = contract_schemas()
CONTRACTS = {each.contract.__name__: each.contract for each in CHANNELS.values() if each.contract}
MISSING = ", may be missing"


def test_every_event_is_in_the_record_of_the_first_version() -> None:
    assert FIRST.keys() == SCHEMAS.keys() == CONTRACTS.keys() | {CostLine.__name__}


@pytest.mark.parametrize("name", FIRST)
def test_no_field_was_removed_or_changed_its_type(name: str) -> None:
    schema = SCHEMAS[name]
    now = {
        field: describe_type(properties) + ("" if field in schema["required"] else MISSING)
        for field, properties in schema["properties"].items()
    }
    assert {field: now.get(field) for field in FIRST[name]["fields"]} == FIRST[name]["fields"]


@pytest.mark.parametrize("name", FIRST)
def test_a_field_that_came_later_has_a_default(name: str) -> None:
    later = SCHEMAS[name]["properties"].keys() - FIRST[name]["fields"].keys()
    assert not later & set(SCHEMAS[name]["required"])


@pytest.mark.parametrize("name", CONTRACTS)
def test_an_event_of_the_first_version_can_be_read(name: str) -> None:
    written = FIRST[name]["written"]
    read = msgspec.json.decode(json.dumps(written).encode(), type=CONTRACTS[name])
    again = json.loads(msgspec.json.encode(read))
    assert {field: again[field] for field in written} == written


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_field_that_is_not_known_is_ignored(name: str) -> None:
    written = FIRST[name]["written"]
    newer = {**written, "a_later_field": {"of": ["any", "shape"]}}
    if "cost_breakdown" in newer:
        newer["cost_breakdown"] = [line | {"a_later_field": 1} for line in newer["cost_breakdown"]]
    contract = CONTRACTS[name]
    known, unknown = (msgspec.json.decode(json.dumps(each), type=contract) for each in (written, newer))
    assert known == unknown


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_version_is_named_and_is_the_first(name: str) -> None:
    assert CONTRACTS[name].__struct_defaults__ is not None
    assert msgspec.structs.fields(CONTRACTS[name])[0].name == "v"
    assert msgspec.structs.fields(CONTRACTS[name])[0].default == 1
