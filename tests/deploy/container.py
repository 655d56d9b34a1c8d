"""What a deployment file says of one container, whichever file it was."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Probe:
    """A GET that has to answer 200."""

    path: str
    port: int


@dataclass(frozen=True)
class Container:
    """One container.

    Attributes:
        name: by which others reach it, where they do.
        command: program and arguments.
        environment: what it starts with, secrets filled in and without what the image sets.
        probes: what an orchestrator asks before it calls it ready.
        health_check: a command inside of it that says the same by its status.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    probes: list[Probe] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)
