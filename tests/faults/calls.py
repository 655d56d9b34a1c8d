"""An outside call, and what is to become of it."""

from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

SERVERS: Final = ("postgres", "kafka", "kafka wire", "redis")
"""`kafka` is what the product calls of the driver; `kafka wire` is what the driver sends to the broker."""


class Call(NamedTuple):
    """One call of a process.

    Tasks of one process run side by side, and their calls may change places from run to run. So a call is
    known by its name and its turn among the calls of that name; over all names, these are all its calls.

    Attributes:
        server: one of `SERVERS`.
        name: what is asked, such as `execute INSERT INTO usage.logs`.
        number: its turn among the calls of this name, from 1.
    """

    server: str
    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.server}: {self.name} #{self.number}"


class Kind(StrEnum):
    """What goes wrong."""

    ERROR = "error"  # the connection breaks, and the driver says so
    TIMEOUT = "time-out"  # no answer, until the caller or the driver gives up
    DEATH = "death"  # the process ends, as by a SIGKILL


class Moment(StrEnum):
    """When it goes wrong."""

    BEFORE = "before"  # the server never hears of it
    AFTER = "after"  # the server has done it, and the answer is lost


class Fault(NamedTuple):
    """What is to become of one call."""

    call: Call
    moment: Moment
    kind: Kind

    def __str__(self) -> str:
        return f"{self.kind} {self.moment} {self.call}"


class Made(NamedTuple):
    """A call that was made, and when: by the machine's monotonic clock, in seconds."""

    call: Call
    at_s: float


class Report(msgspec.Struct, omit_defaults=True):
    """What a process says of itself, a line of JSON each.

    Attributes:
        made: a call is being made; said only while calls are counted.
        fired: the fault has struck.
        ended: it has ended, with this status; None where it says something else.
    """

    made: Made | None = None
    fired: bool = False
    ended: int | None = None


class Order(msgspec.Struct, kw_only=True):
    """What the stem is to fork.

    Attributes:
        process: `ingest`, `rater` or `issuer`.
        settings: fields of `ProcessSettings`.
        group_suffix: tells this process' consumer groups from those of one that died, whose membership lasts
            until its session is over.
        counted: report each call.
        fault: what is to go wrong; None for nothing.
        bug: the name of one in `bugs`, to see that it is found; None for none.
    """

    process: str
    settings: dict[str, Any]
    group_suffix: str
    counted: bool = False
    fault: Fault | None = None
    bug: str | None = None
