"""What the pages tell their reader to paste works, and prints what they show."""

import pytest

from tests.docs.conftest import StageMaker, leave_out
from tests.docs.pages import Page, get_page, list_pages
from tests.docs.tour import compare, run_blocks
from tests.servers.server import MissingServerError

ADDRESS = "http://127.0.0.1:8080"
TOUR = "README.md"
_RUNNABLE = [page.name for page in list_pages() if any(block.mark == "run" for block in page.blocks)]


@pytest.mark.client
@pytest.mark.parametrize("name", _RUNNABLE)
def test_a_page_that_is_pasted_does_what_it_shows(
    name: str, set_stage: StageMaker, request: pytest.FixtureRequest
) -> None:
    page = get_page(name)
    marked = [block for block in page.blocks if block.mark]
    stage = set_stage(with_account=name != TOUR)
    environment = stage.environment
    if any(block.argument == "client" for block in marked):
        try:
            programs = request.getfixturevalue("client_bin")
        except MissingServerError as error:
            leave_out(f"client: {error}")
        environment["PATH"] = f"{programs}:{environment['PATH']}"
    printed = run_blocks(marked, stage.folder, environment, {ADDRESS: stage.server.url})
    assert len(printed) == len(marked)
    wrong = [
        f"{name}:{block.line}: {reason}"
        for index, block in enumerate(marked)
        if block.mark == "output" and (reason := compare(block, printed[index - 1]))
    ]
    assert not wrong, "\n\n".join(wrong)


def test_the_readme_and_the_api_page_are_among_those_that_are_run() -> None:
    assert {TOUR, "docs/api.md", "docs/operations.md"} <= set(_RUNNABLE)


@pytest.mark.parametrize("page", list_pages(), ids=lambda page: page.name)
def test_every_output_follows_the_block_that_prints_it(page: Page) -> None:
    for before, block in zip([None, *page.blocks], page.blocks, strict=False):
        if block.mark == "output":
            assert before is not None
            assert before.mark == "run", f"{page.name}:{block.line}"
        if block.mark == "file":
            assert block.argument, f"{page.name}:{block.line}: name the file"
