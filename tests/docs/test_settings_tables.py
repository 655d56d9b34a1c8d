"""The tables of settings are the settings: every variable, no other, with its default."""

import re

import msgspec

from services.cli.settings import ProcessSettings
from services.cli.witness import witness
from tests.docs.pages import get_page, list_pages, list_rows

FIELDS = {f"LLMRING_{field.name.upper()}": field for field in msgspec.structs.fields(ProcessSettings)}

OF_OTHERS = {
    "LLMRING_SERVER_URL",  # the published client's
    "LLMRING_API_KEY",  # likewise
    "LLMRING_API_URL",  # of the commands that talk to a server, and of the client
    "LLMRING_API_CACHE_DIR",  # of the client, which tests/client/test_page.py looks at
    "LLMRING_API_STATE_DIR",  # likewise
}


OF_WITNESSES = {
    str(option.envvar): option
    for command in witness.commands.values()
    for option in command.params
    if str(option.envvar).startswith("LLMRING_WITNESS_")
}

DEFAULTS = {
    variable: str(field.default) if field.default not in (None, ()) else ""
    for variable, field in FIELDS.items()
}


def test_the_table_of_operations_has_every_setting_with_its_default_and_no_other() -> None:
    rows = list_rows(get_page("docs/operations.md").prose, "variable")
    assert {row[0].strip("`"): row[1].strip("`") for row in rows} == DEFAULTS


def test_the_readme_has_those_that_one_process_needs_with_their_defaults() -> None:
    rows = list_rows(get_page("README.md").prose, "variable")
    assert len(rows) > 5
    assert {row[0].strip("`"): row[1].strip("`") for row in rows}.items() <= DEFAULTS.items()


def test_no_page_names_a_variable_that_does_not_exist() -> None:
    for page in list_pages():
        text = page.path.read_text(encoding="utf-8")
        named = set(re.findall(r"\bLLMRING_[A-Z_]+\b", text))
        assert named <= FIELDS.keys() | OF_WITNESSES.keys() | OF_OTHERS, page.name


def test_the_table_of_witnesses_has_their_options_with_their_defaults() -> None:
    rows = [row for row in list_rows(get_page("docs/operations.md").prose, "option") if len(row) > 2]
    assert {tuple(cell.strip("`") for cell in row[:3]) for row in rows} == {
        (option.opts[0], name, "" if option.required else str(option.default))
        for name, option in OF_WITNESSES.items()
    }
