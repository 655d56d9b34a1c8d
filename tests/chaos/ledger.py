"""What was sent and what was acknowledged: the accounts that everything is settled against at the end."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from tests.chaos.records import Work


class LogAnswer(msgspec.Struct):
    """The part of an answer that is settled; the whole of it is compared as text."""

    log_id: str
    cost: Decimal | None
    timestamp: str
    cost_status: str
    registry_version: str | None


_decoder = msgspec.json.Decoder(LogAnswer)


@dataclass(frozen=True)
class Account:
    """Somebody who logs."""

    number: int
    account_id: str
    key: str


@dataclass(frozen=True)
class Acknowledged:
    """One record, and the answer that was given for it, byte for byte."""

    account: Account
    record: dict[str, Any]
    text: bytes
    answer: LogAnswer


class Ledger:
    """Everything that must be found again.

    Attributes:
        acknowledged: by log id.
        deliveries: a sample source for replays: requests that were acknowledged, with their answers.
        sent: records of which at least one attempt was made, by account.
        counts: acknowledged records by account.
        faults: promises that were broken while the load ran, in words.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[str, Acknowledged] = {}
        self.deliveries: list[tuple[Account, Work, list[bytes]]] = []
        self.sent: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._by_key: dict[tuple[str, str], bytes] = {}

    def note_sent(self, account: Account, work: Work) -> None:
        """Call it before the first attempt."""
        self.sent[account.account_id] += len(work.records)

    def acknowledge(self, account: Account, work: Work, texts: list[bytes]) -> None:
        """Note the answers of one request, in the order of its records; a repetition must be the same."""
        if len(texts) != len(work.records):
            self.faults.append(f"{len(texts)} answers to {len(work.records)} records")
            return
        fresh = False
        for record, text in zip(work.records, texts, strict=True):
            name = (account.account_id, record["idempotency_key"])
            before = self._by_key.get(name)
            if before is not None:
                if before != text:
                    self.faults.append(f"a repetition was answered otherwise: {text!r} after {before!r}")
                continue
            fresh = True
            self._by_key[name] = text
            answer = _decoder.decode(text)
            if answer.log_id in self.acknowledged:
                self.faults.append(f"two records have the log id {answer.log_id}")
                continue
            self.acknowledged[answer.log_id] = Acknowledged(account, record, text, answer)
            self.counts[account.account_id] += 1
        if fresh:
            self.deliveries.append((account, work, texts))
