"""Whether whoever asks still may, at the instant at which it is done.

The gateway vouches for a key or session as it was when the request came in. Since then it may have been
revoked, have expired or been given up, have lost a scope, or its account may be suspended. So every change
that somebody makes by one looks once more, in its own transaction, and keeps the row as it is until that is
committed: what ends the credential comes either wholly before the change, which is then refused, or after it.
"""

from datetime import datetime

from services.auth.api_keys import CUSTOMER_SCOPES
from services.auth.audit import Actor
from services.auth.store.api_keys import hold_live_key
from services.auth.store.sessions import hold_live_session
from shared.errors import ForbiddenError, UnauthenticatedError
from shared.postgres import Connection


async def require_standing(
    connection: Connection, by: Actor, scope: str | None, at: datetime
) -> tuple[str, ...]:
    """Hold the key or session that asks until the transaction ends.

    Call it after the account that is changed was locked, with an instant that was read after that.

    Args:
        connection: in the transaction of the change.
        by: the key or session.
        scope: what the change takes; None is none.
        at: now.

    Returns:
        The scopes that it may give to keys: a key its own, a session all those of a customer. Whoever logged
        in is the account's owner, though a session itself cannot do all of it.

    Raises:
        UnauthenticatedError: it has ended, or its account is suspended.
        ForbiddenError: it has not, or no longer, the scope.
    """
    scopes: tuple[str, ...] | None = None
    if by.account_id is not None and by.session_id is not None:
        if await hold_live_session(connection, by.account_id, by.session_id, at):
            scopes = CUSTOMER_SCOPES
    elif by.account_id is not None and by.key_id is not None:
        scopes = await hold_live_key(connection, by.account_id, by.key_id, at)
    if scopes is None:
        raise UnauthenticatedError("The API key or session by which this was asked has ended.")
    if scope is not None and scope not in scopes:
        raise ForbiddenError(f"This needs an API key with the scope '{scope}'.")
    return scopes
