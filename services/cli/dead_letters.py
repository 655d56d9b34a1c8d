"""`llmring-api dead-letters`: look at the records that could not be processed, and give them another try."""

import asyncio
from collections.abc import Sequence
from typing import Final

import click
import msgspec

from services.cli.reach import finish, reach_event_log, reach_event_log_url
from services.cli.settings import ProcessSettings, load_settings
from shared.clock import rfc3339
from shared.event_log.port import EventLog
from shared.event_log.replay import DeadLetter, NotReplayableError, open_dead_letters, replay

FIRST_BYTES: Final = 60
_AT_ONCE: Final = 50


@click.group("dead-letters")
def dead_letters() -> None:
    """Records that no consumer could process; docs/operations.md tells what to do with them."""


@dead_letters.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="how many to show")
@click.option("--replayed", is_flag=True, help="also those that were replayed already")
@click.option("--json", "as_json", is_flag=True, help="one JSON object for each, and all of them")
def list_letters(limit: int, replayed: bool, as_json: bool) -> None:
    """Show them, oldest first. One that was set aside several times is shown once."""
    settings = load_settings()
    with reach_event_log_url(settings) as url:
        finish(_list(settings, url, limit, replayed=replayed, as_json=as_json), settings)


@dead_letters.command("replay")
@click.option(
    "--offset", "offsets", type=click.IntRange(min=0), multiple=True, help="one of them; repeatable"
)
@click.option("--all", "all_of_them", is_flag=True, help="all that were not replayed yet")
@click.option("--reason-contains", metavar="TEXT", help="only those whose reason has this text in it")
@click.option("--again", is_flag=True, help="also those that were replayed already")
def replay_letters(
    offsets: tuple[int, ...], all_of_them: bool, reason_contains: str | None, again: bool
) -> None:
    """Append the originals to where they came from, once more.

    Do so after what was wrong is put right. What is poison still comes back as a new dead letter.
    """
    if bool(offsets) == (all_of_them or reason_contains is not None):
        raise click.UsageError("Give --offset, or --all, or --reason-contains.")
    settings = load_settings()
    with reach_event_log_url(settings) as url:
        refused = finish(_replay(settings, url, frozenset(offsets), reason_contains, again=again), settings)
    if refused:
        raise click.ClickException(f"{refused} of them could not be replayed.")


async def _list(settings: ProcessSettings, url: str, limit: int, *, replayed: bool, as_json: bool) -> None:
    waiting = done = shown = 0
    async with reach_event_log(settings, url) as log, open_dead_letters(log) as letters:
        async for letter in letters:
            waiting += not letter.is_replayed
            done += letter.is_replayed
            if letter.is_replayed and not replayed:
                continue
            if as_json:
                click.echo(msgspec.json.encode(_facts(letter)))
            elif shown < limit:
                click.echo(_lines(letter))
            shown += 1
    if not as_json:
        left_out = f", {shown - limit} more than shown" if shown > limit else ""
        click.echo(f"{waiting} wait{left_out}; {done} were replayed.")


async def _replay(
    settings: ProcessSettings, url: str, offsets: frozenset[int], text: str | None, *, again: bool
) -> int:
    """How many could not be replayed."""
    found: set[int] = set()
    batch: list[DeadLetter] = []
    replayed = refused = 0
    async with reach_event_log(settings, url) as log:

        async def work_off() -> None:
            nonlocal replayed, refused
            outcomes = await asyncio.gather(*(_try(log, letter) for letter in batch))
            replayed += sum(outcomes)
            refused += len(outcomes) - sum(outcomes)
            batch.clear()

        async with open_dead_letters(log) as letters:
            async for letter in letters:
                offset = letter.record.offset
                if (offsets and offset not in offsets) or (text is not None and text not in letter.reason):
                    continue
                found.add(offset)
                if letter.is_replayed and not again:
                    if offsets:
                        click.echo(f"{offset}: was replayed already; --again replays it once more")
                    continue
                batch.append(letter)
                if len(batch) == _AT_ONCE:
                    await work_off()
        await work_off()
    for offset in sorted(offsets - found):
        click.echo(f"{offset}: there is no dead letter at this offset")
    click.echo(f"{replayed} replayed.")
    return refused + len(offsets - found)


async def _try(log: EventLog, letter: DeadLetter) -> bool:
    offset = letter.record.offset
    try:
        position = await replay(log, letter)
    except NotReplayableError as error:
        click.echo(f"{offset}: {error}")
        return False
    topic = "" if letter.source is None else letter.source.topic
    click.echo(f"{offset}: now {topic}/{position.partition}/{position.offset}")
    return True


def _facts(letter: DeadLetter) -> dict[str, object]:
    """What `--json` prints of one."""
    return {
        "offset": letter.record.offset,
        "topic": letter.source and letter.source.topic,
        "partition": letter.source and letter.source.partition,
        "source_offset": letter.source and letter.source.offset,
        "reason": letter.reason,
        "size": letter.size,
        "first_bytes": _first_bytes(letter),
        "key": letter.record.key.decode(errors="backslashreplace"),
        "set_aside_at": rfc3339(letter.record.appended_at),
        "replays": letter.replays,
        "replayed": letter.is_replayed,
    }


def _lines(letter: DeadLetter) -> str:
    source = "unknown" if letter.source is None else "/".join(map(str, letter.source))
    facts: Sequence[str] = (
        f"from {source}",
        f"{letter.size} bytes",
        rfc3339(letter.record.appended_at),
        *((f"after {letter.replays} replays",) if letter.replays else ()),
        *(("replayed since",) if letter.is_replayed else ()),
    )
    return f"{letter.record.offset}: {letter.reason}\n    {', '.join(facts)}\n    {_first_bytes(letter)}"


def _first_bytes(letter: DeadLetter) -> str:
    """The beginning of its value, with whatever is not printable ASCII escaped."""
    first = (letter.record.value or b"")[:FIRST_BYTES]
    return first.decode("ascii", errors="backslashreplace").translate(_SAFE)


_SAFE: Final = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
