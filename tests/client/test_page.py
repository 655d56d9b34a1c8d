"""The client's page names what there is, and the three classes have the same calls."""

import inspect

from llmring.api import APIService, AsyncAPIService, SyncAPIService, exceptions
from llmring.api.models.usage import USAGE_FIELDS
from shared.contracts.usage import UsageLog
from tests.docs.pages import get_page, list_rows

PAGE = get_page("docs/client.md")


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_the_classes_have_the_same_calls_and_the_page_names_them() -> None:
    assert public(SyncAPIService) == public(AsyncAPIService) == public(APIService) - {"run"}
    calls = public(SyncAPIService) - {"base_url", "queue"}
    assert not [name for name in calls if f"{name}(" not in PAGE.prose]
    told = {each[0].strip("`") for each in list_rows(PAGE.prose, "error")}
    there = {name for name in vars(exceptions) if name.endswith("Error")}
    assert told == there - {"APIError", "FieldError"}


def test_the_settings_are_those_of_the_code() -> None:
    rows = list_rows(PAGE.prose, "argument")
    named = {name.strip("` "): row[2] for row in rows for name in row[0].split(",")}
    parameters = inspect.signature(APIService).parameters
    assert set(named) == set(parameters)
    for name in ("timeout_s", "max_connections", "registry_ttl_s"):
        assert float(named[name]) == parameters[name].default
    values = [parameters[name].default for name in ("batch_size", "flush_interval_s", "max_queued")]
    assert named["batch_size"] == ", ".join(f"{value:,.0f}" for value in values)


def test_a_record_has_the_fields_that_the_server_takes() -> None:
    assert set(UsageLog.__struct_fields__) == USAGE_FIELDS
