"""Whether whoever asks still may, at the instant at which it is done.

The gateway vouches for a key or session as it was when the request came in. Since then it may have been
revoked, have expired or been given up, have lost a scope, or its account may be suspended. So every change
that somebody makes by one looks once more, in its own transaction, and keeps the row as it is until that is
committed: what ends the credential comes either wholly before the change, which is then refused, or after it.
"""

from datetime import datetime
from typing import NamedTuple

from services.auth.api_keys import CUSTOMER_SCOPES
from services.auth.audit import Actor
from services.auth.store.api_keys import hold_live_key
from services.auth.store.sessions import hold_live_session
from shared.errors import ForbiddenError, UnauthenticatedError
from shared.postgres import Connection


class Standing(NamedTuple):
    """What whoever asks may give to keys.

    Attributes:
        scopes: a key's own, and for a session all those of a customer. Whoever logged in is the account's
            owner, though a session itself cannot do all of it.
        until: when the key that asks expires, beyond which it can give nothing. None where it never does, and
            for a session: that is a person, who can log in again.
    """

    scopes: tuple[str, ...]
    until: datetime | None

    def reaches(self, end: datetime | None) -> bool:
        """Whether a key may be given this end; None is never."""
        return self.until is None or (end is not None and end <= self.until)


async def require_standing(connection: Connection, by: Actor, scope: str | None, at: datetime) -> Standing:
    """Hold the key or session that asks until the transaction ends.

    Call it after the account that is changed was locked, with an instant that was read after that.

    Args:
        connection: in the transaction of the change.
        by: the key or session.
        scope: what the change takes; None is none.
        at: now.

    Raises:
        UnauthenticatedError: it has ended, or its account is suspended.
        ForbiddenError: it has not, or no longer, the scope.
    """
    standing: Standing | None = None
    if by.account_id is not None and by.session_id is not None:
        if await hold_live_session(connection, by.account_id, by.session_id, at):
            standing = Standing(CUSTOMER_SCOPES, None)
    elif by.account_id is not None and by.key_id is not None:
        held = await hold_live_key(connection, by.account_id, by.key_id, at)
        standing = None if held is None else Standing(*held)
    if standing is None:
        raise UnauthenticatedError("The API key or session by which this was asked has ended.")
    if scope is not None and scope not in standing.scopes:
        raise ForbiddenError(f"This needs an API key with the scope '{scope}'.")
    return standing
