"""`llmring-api registry publish`: a file of entries becomes a version."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import BinaryIO, Final

import click

from services.cli.reach import finish, reach_database
from services.cli.registry.desk import RefusedError, open_desk
from services.cli.registry.options import publishing_options
from services.cli.registry.tables import print_publication
from services.cli.settings import ProcessSettings, load_settings
from services.registry.fields import decode_json
from services.registry.publish import Publication, publish_version
from services.registry.request import PublishRequest, read_decoded_request
from shared.errors import Fault, InvalidFieldError, MalformedRequestError

SHOWN: Final = 200


@click.command()
@click.argument("file", type=click.File("rb"))
@publishing_options
def publish(
    file: BinaryIO,
    mode: str | None,
    effective_from: datetime | None,
    *,
    dry_run: bool,
    confirm: bool,
    show_all: bool,
) -> None:
    """Publish the entries of FILE: JSON, or one entry to a line; - for standard input.

    JSON is a list of entries, an object with `models` as `POST /registry/versions` takes it, or a version as
    it was served or exported, of which models and providers are taken. Exits with 1 if it is refused.
    """
    try:
        request = read_document(file.read())
    except (InvalidFieldError, MalformedRequestError) as error:
        raise RefusedError(error) from error
    request = request._replace(
        mode="replace" if mode == "replace" else "merge" if mode == "merge" else request.mode,
        effective_from=effective_from or request.effective_from,
        confirm=confirm or request.confirm,
        dry_run=dry_run or request.dry_run,
    )
    settings = load_settings()
    with reach_database(settings) as url:
        publication = finish(_publish(settings, url, request), settings)
    print_publication(publication, None if show_all else SHOWN)


async def _publish(settings: ProcessSettings, url: str, request: PublishRequest) -> Publication:
    async with open_desk(settings, url) as desk:
        return await publish_version(
            request,
            published_by=None,
            database=desk.database,
            event_log=desk.event_log,
            library=desk.library,
            clock=desk.clock,
        )


def read_document(body: bytes) -> PublishRequest:
    """A publish request from a file in any of its forms.

    Raises:
        MalformedRequestError: it is no JSON.
        InvalidFieldError: it is JSON of another form.
    """
    lines = [(number, line) for number, line in enumerate(body.splitlines(), 1) if line.strip()]
    if len(lines) > 1 and _is_entry(lines[0][1]):
        return read_decoded_request({"models": _decode_lines(lines)})
    raw = decode_json(body)
    if isinstance(raw, list):
        return read_decoded_request({"models": raw})
    if not isinstance(raw, Mapping):
        raise InvalidFieldError.of("file", "must hold a list of entries, or an object with 'models'")
    if "models" not in raw and "model_name" in raw:
        return read_decoded_request({"models": [raw]})
    if "version" in raw:  # as it was served: when that version came into force is no wish for this one
        raw = {name: value for name, value in raw.items() if name in ("models", "providers")}
    return read_decoded_request(raw)


def _is_entry(line: bytes) -> bool:
    """Whether a line is a whole JSON value, so that the file has one to each."""
    try:
        return isinstance(decode_json(line), Mapping)
    except (MalformedRequestError, InvalidFieldError):
        return False


def _decode_lines(lines: Iterable[tuple[int, bytes]]) -> list[object]:
    entries: list[object] = []
    faults: list[Fault] = []
    for number, line in lines:
        try:
            entries.append(decode_json(line))
        except (MalformedRequestError, InvalidFieldError) as error:
            faults.append(Fault(f"line {number}", error.detail))
    if faults:
        raise InvalidFieldError.all(faults)
    return entries
