"""The Dockerfile as data: what a container of our image starts with."""

import json
import re
import shlex
from dataclasses import dataclass, field

from tests.docs.pages import ROOT

_INSTRUCTION = re.compile(r"^([A-Z]+)\s+(.*)$", re.DOTALL)


@dataclass
class Stage:
    """One stage of a build, its instructions in order."""

    base: str
    name: str | None
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, kind: str) -> list[str]:
        """The arguments of every instruction of one kind."""
        return [argument for each, argument in self.instructions if each == kind]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets, as it is written."""
        pairs = (word.partition("=") for line in self.all("ENV") for word in shlex.split(line))
        return {name: value for name, _, value in pairs}

    @property
    def entrypoint(self) -> list[str]:
        """The program, and its first arguments."""
        words: list[str] = json.loads(self.all("ENTRYPOINT")[-1])
        return words


def read_stages() -> list[Stage]:
    """All stages of the Dockerfile, with the defaults of its global arguments filled in."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for kind, argument in _read_instructions():
        if kind == "ARG" and not stages:
            name, _, value = argument.partition("=")
            arguments[name] = value
        elif kind == "FROM":
            base, _, name = argument.partition(" AS ")
            for each, value in arguments.items():
                base = base.replace(f"${{{each}}}", value)
            stages.append(Stage(base, name or None))
        else:
            stages[-1].instructions.append((kind, argument))
    return stages


def read_image() -> Stage:
    """The stage that is the image."""
    return read_stages()[-1]


def list_left_out() -> set[str]:
    """The packages of the lock that the image does without."""
    text = (ROOT / "Dockerfile").read_text()
    found = re.search(r"!/\^\(([\w|-]+)\)==/", text)
    assert found is not None
    return set(found[1].split("|"))


def _read_instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = (_INSTRUCTION.match(line) for line in joined.splitlines() if line.strip())
    return [(match[1], match[2].strip()) for match in found if match is not None]
