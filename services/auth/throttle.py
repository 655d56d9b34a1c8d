"""How often somebody may try: by client address, and by email address whether it has an account or not."""

from datetime import timedelta
from hashlib import sha256
from typing import Final, Literal, NamedTuple

from services.auth.settings import AuthSettings
from shared.clock import Clock
from shared.errors import RateLimitedError
from shared.limits.address import bucket_key
from shared.limits.port import Decision, RateLimiter

Attempt = Literal["login", "password-reset", "password-reset-confirm"]

RESETS_PER_EMAIL: Final = 3
"""Mails that may be asked for one address in any 60 s."""


class Counted(NamedTuple):
    """An attempt that was counted under an email address."""

    bucket: str
    at: float


class Throttle:
    """Counts attempts before anything is done for them.

    Args:
        clients: counts by client address.
        emails: counts by email address. Not the same one, so that neither fills the memory of the other.
        settings: how many.
        clock: tells when.
    """

    def __init__(
        self, clients: RateLimiter, emails: RateLimiter, settings: AuthSettings, clock: Clock
    ) -> None:
        self._clients = clients
        self._emails = emails
        self._per_client = settings.attempts_per_client
        self._per_email = {"login": settings.logins_per_email, "password-reset": RESETS_PER_EMAIL}
        self._clock = clock

    async def count_client(self, what: Attempt, client: str) -> None:
        """Count an attempt by the address it came from.

        Raises:
            RateLimitedError: there were too many in the last 60 s.
        """
        now = self._clock.now().timestamp()
        _let_pass(await self._clients.hit(f"{what}:{bucket_key(client)}", self._per_client, now))

    async def count(self, what: Literal["login", "password-reset"], client: str, email_key: str) -> Counted:
        """Count an attempt by both.

        Raises:
            RateLimitedError: there were too many of either in the last 60 s.
        """
        await self.count_client(what, client)
        now = self._clock.now().timestamp()
        # The hash, since an address belongs into no other store than the accounts, and may be of any length.
        bucket = f"{what}:{sha256(email_key.encode()).hexdigest()[:32]}"
        _let_pass(await self._emails.hit(bucket, self._per_email[what], now))
        return Counted(bucket, now)

    async def forgive(self, counted: Counted) -> None:
        """Uncount an attempt that was right; the client's address stays counted, since it cost a hash."""
        await self._emails.take_back(counted.bucket, counted.at)


def _let_pass(decision: Decision) -> None:
    if decision.retry_after_s is not None:
        raise RateLimitedError(
            f"Too many attempts: try again in {decision.retry_after_s} s.",
            retry_after=timedelta(seconds=decision.retry_after_s),
            limit=decision.limit,
            reset_at=decision.reset_at,
        )
