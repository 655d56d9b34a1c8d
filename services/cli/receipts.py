"""`llmring-api receipts`: check a saved receipt with no server and no network, show one, mind the keys."""

import json
import sys
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from services.cli.receipt_keys import keys
from services.cli.receipt_show import show
from shared.contracts.receipts import Inclusion
from shared.proofs.evidence import (
    MAX_FILE_BYTES,
    Evidence,
    EvidenceError,
    read_consistency,
    read_evidence,
    read_proof,
    read_public_keys,
)
from shared.proofs.offline import Judgement, Outcome, Trust, check_trust, verify_offline
from shared.proofs.receipt import KeySet, find_shown_receipt
from shared.proofs.tlog.note import NoteError, VerifierKey

_FACTS: Final = (
    "kind",
    "account_id",
    "account_sequence",
    "issued_at",
    "provider",
    "model",
    "cost",
    "currency",
)
_WORDS: Final[dict[Outcome, str]] = {"passed": "ok", "failed": "FAILED", "not_checked": "not checked"}

_File = click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path)


class _Key(click.ParamType[VerifierKey]):
    """A verifier key in one line, as `verifier-keys.txt` has it."""

    name = "VKEY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> VerifierKey:  # noqa: ANN401 - click's own signature
        """Read it, or end with status 2."""
        try:
            return VerifierKey.parse(value)
        except NoteError as error:
            self.fail(str(error), param, ctx)


@click.group()
def receipts() -> None:
    """Check saved receipts, show one of an account, and look after the keys that sign them."""


receipts.add_command(keys)
receipts.add_command(show)


@receipts.command()
@click.argument("file", type=_File)
@click.option(
    "--proof", type=_File, help="the saved proof, as JSON or .tlog-proof, for a receipt without one"
)
@click.option("--keys", "keys_file", type=_File, help="a saved public-keys.json that you trust")
@click.option("--log-key", "log_keys", type=_Key(), multiple=True, help="a key of the log that you trust")
@click.option(
    "--witness", "witnesses", type=_Key(), multiple=True, help="the key of a witness that you trust"
)
@click.option(
    "--witnesses-needed", type=click.IntRange(min=0), help="how many of them must have cosigned; default: all"
)
@click.option("--since", type=_File, help="a checkpoint that you kept: the log must still be the same one")
@click.option("--consistency", type=_File, help="the saved proof of that, if FILE has it not")
@click.option("--strict", is_flag=True, help="fail unless all keys were given here and there is a proof")
@click.option("--json", "as_json", is_flag=True, help="print a JSON document")
def verify(
    *,
    file: Path,
    proof: Path | None,
    keys_file: Path | None,
    log_keys: tuple[VerifierKey, ...],
    witnesses: tuple[VerifierKey, ...],
    witnesses_needed: int | None,
    since: Path | None,
    consistency: Path | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Tell whether FILE, a saved receipt or bundle, is true. No server and no network is asked.

    Keys that come inside FILE are its maker's own word: whoever forged it would have put in others. Give
    yours with --keys and --log-key, and --strict to accept no other.

    Exits with 0 if it is true, 1 if it is not, 2 if the question makes no sense.
    """
    try:
        published = None if keys_file is None else KeySet(read_public_keys(_read(keys_file)).keys)
        needed = len({key.public_key for key in witnesses}) if witnesses_needed is None else witnesses_needed
        trust = Trust(
            keys=published,
            log_keys=log_keys,
            witnesses=witnesses,
            witnesses_needed=needed,
            # What is no UTF-8 is no checkpoint, and fails as one.
            old_checkpoint=None if since is None else _read(since).decode(errors="replace"),
            strict=strict,
        )
        check_trust(trust)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    if consistency is not None and since is None:
        raise click.UsageError("--consistency goes with --since.")
    try:
        evidence = _gather(file, proof, consistency)
        judgement = verify_offline(evidence, trust)
    except EvidenceError as error:
        evidence, judgement = None, Judgement(valid=False, receipt_id=None, checks=[], reason=str(error))
    if as_json:
        click.echo(msgspec.json.encode(judgement).decode())
    else:
        _print(evidence, judgement)
    if not judgement.valid:
        sys.exit(1)


def _gather(file: Path, proof: Path | None, consistency: Path | None) -> Evidence:
    evidence = read_evidence(_read(file))
    if proof is not None:
        evidence = msgspec.structs.replace(evidence, proof=_read_other_proof(evidence, proof))
    if consistency is not None:
        evidence = msgspec.structs.replace(evidence, consistency=read_consistency(_read(consistency)))
    return evidence


def _read_other_proof(evidence: Evidence, path: Path) -> Inclusion:
    if evidence.proof is not None:
        raise click.UsageError("FILE has a proof already: --proof goes with a receipt alone.")
    return read_proof(_read(path))


def _read(path: Path) -> bytes:
    """The file, as far as it may be one of ours: the reader refuses what is larger."""
    try:
        with click.open_file(str(path), "rb") as file:
            return bytes(file.read(MAX_FILE_BYTES + 1))
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}.") from None


def _print(evidence: Evidence | None, judgement: Judgement) -> None:
    receipt = None if evidence is None else find_shown_receipt(evidence.receipt)
    if receipt is not None:
        click.echo(f"receipt {_quote(receipt['receipt_id'])}, key {_quote(receipt['key_id'])}, says:")
        for name in _FACTS:
            if name in receipt["payload"]:
                click.echo(f"  {name:17} {_quote(receipt['payload'][name])}")
        click.echo()
    for check in judgement.checks:
        click.echo(f"{_WORDS[check.outcome]:12} {check.name:13} {_plain(check.reason)}")
    reason = f": {_plain(judgement.reason)}" if judgement.reason else ""
    click.echo(f"\n{'TRUE' if judgement.valid else 'NOT TRUE'}{reason}")


def _quote(value: object) -> str:
    return json.dumps(value)


def _plain(text: str) -> str:
    """Text with a stranger's words in it: nothing there can move the cursor."""
    return text.encode("ascii", "backslashreplace").decode() if not text.isprintable() else text
