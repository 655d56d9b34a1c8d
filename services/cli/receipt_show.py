"""`llmring-api receipts show`: a receipt of any account, for a support case, with an audit entry."""

from datetime import timedelta
from uuid import UUID

import click
import msgspec

from services.auth.operator import note_receipt_read
from services.cli.reach import finish, reach_existing_database
from services.cli.settings import load_settings
from services.receipts.read import Reading
from shared.clock import SystemClock
from shared.contracts.receipts import Receipt
from shared.postgres import open_database


@click.command()
@click.argument("account_id", type=click.UUID)
@click.argument("receipt_id")
def show(account_id: UUID, receipt_id: str) -> None:
    """Print a receipt of an account, as its owner gets it; `receipts verify` reads it.

    No path of the API gives one account's receipts to another, not even to the operator. This is written into
    the account's audit log, as `receipt.read`, before anything is shown.
    """
    settings = load_settings()
    with reach_existing_database(settings) as url:
        receipt = finish(_show(url, account_id, receipt_id), settings)
    click.echo(msgspec.json.format(msgspec.json.encode(receipt)).decode())


async def _show(url: str, account_id: UUID, receipt_id: str) -> Receipt:
    database = await open_database(url, application_name="llmring-api receipts show", max_size=1)
    try:
        receipt, _ = await Reading(database, timedelta()).get_receipt(account_id, receipt_id)
        await note_receipt_read(database, SystemClock(), account_id, UUID(receipt.receipt_id))
    finally:
        await database.close()
    return receipt
