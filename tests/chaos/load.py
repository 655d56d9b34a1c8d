"""Senders and readers, a steady load at the public door."""

import asyncio
import contextlib
import json
import random
from decimal import Decimal
from typing import Any, Final

import msgspec

from tests.chaos.door import Answer, Door
from tests.chaos.ledger import Account, Ledger
from tests.chaos.records import RecordSource, Work, one, with_other_body

_RETRY_S: Final = 0.15
_UNHEARD_SHARE: Final = 0.05
_TWICE_SHARE: Final = 0.02
_REPEAT_SHARE: Final = 0.04
_OTHER_BODY_SHARE: Final = 0.03


class _Batch(msgspec.Struct):
    accepted: int
    rejected: int
    results: list[msgspec.Raw]


_batch_decoder = msgspec.json.Decoder(_Batch)


class Load:
    """Accounts, senders and readers.

    Args:
        requests_per_second: of all senders together, while answers come at once.
    """

    def __init__(
        self, door: Door, ledger: Ledger, seed: int, *, senders: int, requests_per_second: float, readers: int
    ) -> None:
        self.door = door
        self.ledger = ledger
        self.accounts: list[Account] = []
        self._chance = random.Random(f"load-{seed}")
        self._senders = senders
        self._pause_s = senders / requests_per_second
        self._readers = readers
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._source: RecordSource | None = None

    async def open_accounts(self, count: int, operator_key: str) -> None:
        """Register accounts at the public door, and lift their limits."""
        models = await self._pick_models()
        self._source = RecordSource(random.Random(self._chance.getrandbits(64)), models)
        for number in range(count):
            body = {"email": f"chaos-{number}@example.com", "password": "correct horse battery"}
            made = await self.door.ask_until(
                "POST", "/api/v1/register", body=msgspec.json.encode(body), purpose="register", wanted=201
            )
            account = json.loads(made.body)
            await self.door.ask_until(
                "PATCH",
                f"/api/v1/admin/accounts/{account['account_id']}",
                key=operator_key,
                body=b'{"requests_per_minute":null,"logs_per_month":null,"retention_days":null}',
                purpose="admin",
                wanted=200,
            )
            self.accounts.append(Account(number, account["account_id"], account["api_key"]))

    def start(self) -> None:
        """Begin."""
        for number in range(self._senders):
            chance = random.Random(self._chance.getrandbits(64))
            self._tasks.append(asyncio.create_task(self._send_on(chance), name=f"sender-{number}"))
        for number in range(self._readers):
            chance = random.Random(self._chance.getrandbits(64))
            self._tasks.append(asyncio.create_task(self._read_on(chance), name=f"reader-{number}"))

    async def stop(self, seconds: float) -> int:
        """Make nothing new, let what is on its way be acknowledged; how many tasks did not come to an end."""
        self._stop.set()
        _, pending = await asyncio.wait(self._tasks, timeout=seconds)
        for task in pending:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                self.ledger.faults.append(f"a task of the load broke: {outcome!r}")
        return len(pending)

    async def probe(self, account: Account) -> None:
        """Log one record of an account, until it is acknowledged."""
        await self.deliver(account, self.make_one())

    def make_one(self) -> Work:
        """A new request with one record."""
        assert self._source is not None
        return one(self._source.make_work().records[0])

    async def deliver(self, account: Account, work: Work) -> None:
        """Send until acknowledged."""
        self.ledger.note_sent(account, work)
        self.ledger.acknowledge(account, work, await self._until_acknowledged(account, work))

    async def repeat(self, account: Account, work: Work) -> None:
        """Send what was acknowledged once more; the answers must be the same."""
        self.ledger.acknowledge(account, work, await self._until_acknowledged(account, work, replay=True))

    async def offer_other_body(self, account: Account, work: Work) -> None:
        """The key of an acknowledged record with another body must be refused: 422, or 409 in flight."""
        other = with_other_body(work)
        answer = await self.door.ask_until(
            "POST",
            other.path,
            key=account.key,
            body=other.body,
            purpose="other body",
            wanted=422,
            also=(409,),
        )
        if b"idempotency_key" not in answer.body:
            self.door.note_unexpected(f"other body: refused for another reason: {answer.body[:200]!r}")

    async def _send_on(self, chance: random.Random) -> None:
        assert self._source is not None
        await asyncio.sleep(chance.random() * self._pause_s)
        while not self._stop.is_set():
            await self._send_one(chance.choice(self.accounts), self._source.make_work(), chance)
            await asyncio.sleep(self._pause_s * chance.uniform(0.5, 1.5))

    async def _send_one(self, account: Account, work: Work, chance: random.Random) -> None:
        dice = chance.random()
        if dice < _UNHEARD_SHARE:  # the caller hangs up, and tries again
            self.ledger.note_sent(account, work)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0, 0.03)):
                    await self._attempt(account, work)
            self.ledger.acknowledge(account, work, await self._until_acknowledged(account, work))
        elif dice < _UNHEARD_SHARE + _TWICE_SHARE:  # over two connections at once
            self.ledger.note_sent(account, work)
            both = await asyncio.gather(*(self._until_acknowledged(account, work) for _ in range(2)))
            for texts in both:
                self.ledger.acknowledge(account, work, texts)
        else:
            await self.deliver(account, work)
        if chance.random() < _REPEAT_SHARE:
            await self.repeat(account, work)
        if len(work.records) == 1 and chance.random() < _OTHER_BODY_SHARE:
            await self.offer_other_body(account, work)

    async def _until_acknowledged(self, account: Account, work: Work, *, replay: bool = False) -> list[bytes]:
        while True:
            answer = await self._attempt(account, work)
            if answer is not None and answer.status == 200:
                texts = self._read_answers(work, answer)
                if texts is not None:
                    if replay and answer.header("Idempotent-Replayed") != "true" and len(texts) == 1:
                        self.ledger.faults.append("a repetition was not called one")
                    return texts
            await asyncio.sleep(_RETRY_S)

    async def _attempt(self, account: Account, work: Work) -> Answer | None:
        purpose = "log" if len(work.records) == 1 else "batch"
        return await self.door.ask(
            "POST", work.path, key=account.key, body=work.body, purpose=purpose, expected=(200,)
        )

    def _read_answers(self, work: Work, answer: Answer) -> list[bytes] | None:
        """The answer to each record; None where some of a batch have to come again."""
        if work.path == "/api/v1/log":
            return [answer.body]
        batch = _batch_decoder.decode(answer.body)
        if batch.rejected:
            refused = [bytes(each) for each in batch.results if b'"error"' in bytes(each)]
            self.door.note_unexpected(f"batch: {batch.rejected} refused, such as {refused[0][:300]!r}")
            return None
        return [bytes(each) for each in batch.results]

    async def _read_on(self, chance: random.Random) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(chance.uniform(0.1, 0.5))
            account = chance.choice(self.accounts)
            kind = chance.randrange(5)
            if kind == 0:
                await self._read_stats(account)
            elif kind == 1:
                await self._get(account, "/api/v1/logs?limit=20", "logs", (200,))
            elif kind == 2:
                await self._get(account, "/api/v1/receipts?limit=20", "receipts", (200,))
            elif self.ledger.deliveries:
                owner, _, texts = chance.choice(self.ledger.deliveries[-200:])
                log_id = json.loads(texts[-1])["log_id"]
                if kind == 3:
                    await self._get(owner, f"/api/v1/logs/{log_id}", "one log", (200, 202))
                else:
                    body = msgspec.json.encode({"log_id": log_id})
                    # 404: the issuer has not come to it yet.
                    await self.door.ask(
                        "POST",
                        "/api/v1/receipts",
                        key=owner.key,
                        body=body,
                        purpose="receipt of a log",
                        expected=(201, 404),
                    )

    async def _read_stats(self, account: Account) -> None:
        """What a complete answer counts: nothing acknowledged before is missing, nothing is counted twice."""
        acknowledged = self.ledger.counts[account.account_id]
        answer = await self._get(account, "/api/v1/stats", "stats", (200,))
        if answer is None or answer.status != 200:
            return
        stats: dict[str, Any] = json.loads(answer.body, parse_float=Decimal)
        counted = stats["total_requests"]
        if stats["complete"] and counted < acknowledged:
            self.door.note_stale()
        if counted > self.ledger.sent[account.account_id]:
            self.ledger.faults.append(
                f"statistics count {counted} of {self.ledger.sent[account.account_id]} records"
            )

    async def _get(
        self, account: Account, path: str, purpose: str, expected: tuple[int, ...]
    ) -> Answer | None:
        return await self.door.ask("GET", path, key=account.key, purpose=purpose, expected=expected)

    async def _pick_models(self) -> list[str]:
        answer = await self.door.ask_until("GET", "/registry.json", purpose="registry", wanted=200)
        models = json.loads(answer.body)["models"]
        priced = sorted(
            key
            for key, model in models.items()
            if model.get("dollars_per_million_tokens_input") is not None
            and model.get("dollars_per_million_tokens_output") is not None
            and key == f"{model['provider']}:{model['model_name']}"
        )
        return self._chance.sample(priced, min(20, len(priced)))
