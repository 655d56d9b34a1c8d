"""What the pages name exists: files, functions, links, commands, make targets, dependencies."""

import ast
import re
import tomllib
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from services.cli.main import COMMANDS
from tests.docs.pages import ROOT, Page, get_page, list_pages, list_rows

PAGES = list_pages()
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])

_PLACE = re.compile(r"((?:services|shared|tests|bench|docs|client|deploy|\.ci)/[\w./-]*)(?:: ?([\w.]+))?")
_DOTTED = re.compile(r"(?:services|shared)(?:\.\w+)+")
_COMMAND = re.compile(r"llmring-api ([a-z][\w-]*)")
_TARGET = re.compile(r"\bmake (?:\w+=\S+ )*([a-z][a-z-]*)\b")


@cache
def _names_in(path: Path) -> frozenset[str]:
    """What a module defines: its own names, and those of its classes with a dot."""
    found: set[str] = set()

    def add(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    add(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign):
                found.update(prefix + each.id for each in node.targets if isinstance(each, ast.Name))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(prefix + node.target.id)

    add(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return frozenset(found)


def _is_defined(dotted: str) -> bool:
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:end])
        rest = ".".join(parts[end:])
        if place.with_suffix(".py").is_file():
            return not rest or rest in _names_in(place.with_suffix(".py"))
        if place.is_dir():
            return not rest
    return False


@EACH_PAGE
def test_every_file_and_function_that_a_page_names_exists(page: Page) -> None:
    missing = []
    for span in page.spans():
        place = _PLACE.fullmatch(span)
        if place is not None:
            path = ROOT / place[1]
            if not path.exists() or (place[2] and place[2] not in _names_in(path)):
                missing.append(span)
        elif _DOTTED.fullmatch(span) and not _is_defined(span):
            missing.append(span)
    assert not missing


def test_the_life_of_an_event_names_a_function_at_nearly_every_step() -> None:
    page = get_page("docs/life-of-a-usage-event.md")
    steps = list_rows(page.prose, "step") + list_rows(page.prose, "request")
    assert len(steps) > 40
    places = [_PLACE.fullmatch(row[-1].strip("`")) for row in steps]
    assert all(places)
    assert sum(1 for place in places if place and place[2]) >= len(steps) - 1


@EACH_PAGE
def test_every_internal_link_leads_somewhere(page: Page) -> None:
    broken = []
    for link in page.links():
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        found = path.exists() and path.is_relative_to(ROOT)
        if found and anchor:
            found = anchor in get_page(path.relative_to(ROOT).as_posix()).anchors()
        if not found:
            broken.append(link)
    assert not broken


@EACH_PAGE
def test_every_command_and_make_target_that_a_page_names_exists(page: Page) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    code = "\n".join([*page.spans(), *(block.text for block in page.blocks)])
    assert set(_COMMAND.findall(code)) <= COMMANDS.keys()
    assert set(_TARGET.findall(code)) <= targets


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"], *chain(*extras)]
    names = {re.split(r"[^\w-]", each, maxsplit=1)[0].lower() for each in wanted}
    rows = list_rows(get_page("docs/adr/0001-libraries.md").prose, "library")
    given = {name.strip("` ").lower() for row in rows for name in row[0].split(",")}
    assert names - given == set()
    assert given - names <= {"argon2-cffi-bindings"}


def test_the_index_of_decisions_has_every_decision() -> None:
    folder = ROOT / "docs" / "adr"
    there = {path.name for path in folder.glob("[0-9]*.md")}
    listed = {link for link in get_page("docs/adr/README.md").links() if re.match(r"\d{4}-", link)}
    assert there <= listed


def test_no_page_names_a_package_registry_or_a_folder_of_somebodys_machine() -> None:
    for page in PAGES:
        text = page.path.read_text(encoding="utf-8")
        assert not re.search(r"pypi\.|pythonhosted|/home/\w|/root/|/work/|/tmp/", text), page.name
