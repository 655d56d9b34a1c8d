"""The documentation as data: its pages, and what stands in them.

A fenced block is run by the tests when an HTML comment, which readers do not see, stands right before it:

- `<!-- run -->`: a shell or Python block that works when it is pasted.
- `<!-- run: client -->`: the same, with the published client's programs on the path.
- `<!-- file: NAME -->`: the reader saves the block under this name.
- `<!-- output -->`: what the block before it prints. A line `...` stands for any lines.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(`{3,})([a-z]*)\s*$")
_MARK = re.compile(r"^<!-- (run|file|output)(?:: ([\w.-]+))? -->$")
_HEADING = re.compile(r"^#{1,6} (.+)$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """One fenced block.

    Attributes:
        line: the number of its first line of text.
        mark: `run`, `file`, `output`, or None for one that is only to be read.
        argument: what the mark says after its colon.
    """

    line: int
    language: str
    text: str
    mark: str | None
    argument: str | None


class Page(NamedTuple):
    """One page: its prose without the fenced blocks, and the blocks."""

    path: Path
    prose: str
    blocks: list[Block]

    @property
    def name(self) -> str:
        """The path from the project's root."""
        return self.path.relative_to(ROOT).as_posix()

    def spans(self) -> list[str]:
        """What stands between backticks in the prose."""
        return _SPAN.findall(self.prose)

    def links(self) -> list[str]:
        """The targets of its links."""
        return _LINK.findall(self.prose)

    def anchors(self) -> set[str]:
        """The names under which other pages can link to its headings."""
        headings = (_HEADING.match(line) for line in self.prose.splitlines())
        return {_anchor(heading[1]) for heading in headings if heading}

    def sections(self) -> dict[str, str]:
        """The text under each heading up to the next heading of any level, blocks left out."""
        found: dict[str, str] = {}
        title = ""
        for line in self.prose.splitlines():
            heading = _HEADING.match(line)
            if heading:
                title = heading[1]
            found[title] = f"{found.get(title, '')}{line}\n"
        return found


class MarkError(Exception):
    """A comment that looks like a mark and is not followed by a block."""


def read_page(path: Path) -> Page:
    """Read a page.

    Raises:
        MarkError: a mark does not stand right before a block, or a block has no end.
    """
    prose: list[str] = []
    blocks: list[Block] = []
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    mark: re.Match[str] | None = None
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            if mark is not None:
                raise MarkError(f"{path}:{number}: a block must follow the mark")
            mark = _MARK.match(line)
            prose.append(line)
            continue
        text: list[str] = []
        for _, inner in lines:
            if inner == fence[1]:
                break
            text.append(inner)
        else:
            raise MarkError(f"{path}:{number}: the block has no end")
        blocks.append(Block(number + 1, fence[2], "\n".join(text) + "\n", mark and mark[1], mark and mark[2]))
        mark = None
    return Page(path, "\n".join(prose), blocks)


def list_pages() -> list[Page]:
    """Every page of the documentation."""
    paths = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("client/*.md"),
        *ROOT.glob("deploy/*.md"),
    ]
    return [read_page(path) for path in sorted(paths)]


def get_page(name: str) -> Page:
    """One page by its path from the project's root."""
    return read_page(ROOT / name)


def list_rows(text: str, first_heading: str) -> list[list[str]]:
    """The rows of every table in a text whose first column has this heading, cell by cell."""
    rows: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == first_heading:
            inside = True
        elif inside and set(cells[0]) - set("-: "):
            rows.append(cells)
    return rows


def _anchor(heading: str) -> str:
    # As GitHub makes them: letters, digits, dashes and underscores stay, blanks become dashes.
    plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return plain.replace(" ", "-")
