"""`docs/events.md` names every topic with its partitions, every field and every header, and no other."""

import importlib
import re

import pytest

from services.auth.note_webhooks import GROUP as AUDIT
from services.auth.tell_of_webhooks import GROUP as MAILS
from services.ingest.record import RATER
from services.receipts.issue import GROUP as ISSUER
from services.webhooks.take import GROUP as WEBHOOKS
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
    USAGE_LOGGED,
    USAGE_RATED,
    WEBHOOKS_CHANGED,
    WEBHOOKS_DISABLED,
)
from shared.contracts.usage import CostLine, UsageLogged, UsageRated
from shared.contracts.webhooks import WebhookChanged, WebhookDisabled
from shared.event_log.port import MAX_RECORD_BYTES
from tests.docs.pages import get_page, list_rows

PAGE = get_page("docs/events.md")
FIELDS = {
    USAGE_LOGGED: UsageLogged.__struct_fields__,
    USAGE_RATED: [name for name in UsageRated.__struct_fields__ if name not in UsageLogged.__struct_fields__],
    RECEIPTS_ISSUED: ReceiptIssued.__struct_fields__,
    BUDGETS_CROSSED: BudgetCrossed.__struct_fields__,
    WEBHOOKS_CHANGED: WebhookChanged.__struct_fields__,
    WEBHOOKS_DISABLED: WebhookDisabled.__struct_fields__,
    REGISTRY_PUBLISHED: RegistryPublished.__struct_fields__,
    KEYS_CHANGED: KeysChanged.__struct_fields__,
}


def test_the_table_of_topics_is_that_of_the_code() -> None:
    rows = list_rows(PAGE.prose, "topic")
    assert {row[0].strip("`"): int(row[1]) for row in rows} == TOPICS


def test_the_table_says_how_long_a_topic_is_kept() -> None:
    rows = list_rows(PAGE.prose, "topic")
    assert {row[0].strip("`"): row[-1] for row in rows} == {
        topic: "for ever" if kept is None else f"{kept.days} days" for topic, kept in RETENTION.items()
    }


@pytest.mark.parametrize("topic", FIELDS)
def test_every_field_of_an_event_is_described_and_no_other(topic: str) -> None:
    section = PAGE.sections()[f"`{topic}`"]
    assert sorted(row[0].strip("`") for row in list_rows(section, "field")) == sorted(FIELDS[topic])


def test_the_parts_of_a_breakdown_are_named() -> None:
    section = PAGE.sections()["`usage.logged`"]
    assert all(f"`{name}`" in section for name in CostLine.__struct_fields__)


def test_the_parts_of_a_breakdown_have_a_table() -> None:
    section = PAGE.sections()["A line of `cost_breakdown`"]
    assert [row[0].strip("`") for row in list_rows(section, "field")] == list(CostLine.__struct_fields__)


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_says_its_key_its_order_and_what_tells_a_repeat(topic: str) -> None:
    section = PAGE.sections()[f"`{topic}`"]
    assert all(f"**{word}" in section for word in ("Key", "Order", "Repeats"))


def test_our_own_groups_are_named_so_that_nobody_joins_them() -> None:
    section = PAGE.sections()["What not to do"]
    assert all(f"`{group}`" in section for group in (RATER, ISSUER, WEBHOOKS, MAILS, AUDIT))


def test_the_headers_are_those_of_the_code() -> None:
    # By their names: the package has functions under the same ones.
    rooms = [importlib.import_module(f"shared.event_log.{name}") for name in ("dead_letter", "replay")]
    there = {value for room in rooms for name, value in vars(room).items() if name.endswith("_HEADER")}
    there |= {"traceparent"}
    rows = list_rows(PAGE.sections()["Headers"], "header")
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row[0])} == there


def test_the_largest_record_is_named() -> None:
    assert f"{MAX_RECORD_BYTES:,} bytes" in PAGE.prose
