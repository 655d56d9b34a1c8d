"""The table of logins that a provider has not answered yet. Of state and cookie only the SHA-256 is here."""

from datetime import datetime
from typing import Final, NamedTuple

from shared.postgres import Connection


class LoginFlow(NamedTuple):
    """What has to be remembered of a login from its beginning to its end.

    Attributes:
        verifier: of PKCE.
        nonce: what the ID token must repeat.
        return_to: a path of our own site.
    """

    provider: str
    verifier: str
    nonce: str
    return_to: str | None
    expires_at: datetime


INSERT_FLOW: Final = """
INSERT INTO auth.login_flows
    (state_sha256, browser_sha256, provider, verifier, nonce, return_to, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


async def insert_flow(
    connection: Connection, flow: LoginFlow, *, state_sha256: bytes, browser_sha256: bytes
) -> None:
    """Add a login."""
    await connection.execute(INSERT_FLOW, state_sha256, browser_sha256, *flow)


TAKE_FLOW: Final = f"""
DELETE FROM auth.login_flows WHERE state_sha256 = $1 AND browser_sha256 = $2
RETURNING {", ".join(LoginFlow._fields)}
"""  # noqa: S608 - constants only


async def take_flow(
    connection: Connection, *, state_sha256: bytes, browser_sha256: bytes
) -> LoginFlow | None:
    """Take a login out, for the browser that began it: of several that ask at once, one gets it."""
    row = await connection.fetchrow(TAKE_FLOW, state_sha256, browser_sha256)
    return None if row is None else LoginFlow(*row)


async def delete_flows_that_are_over(connection: Connection, at: datetime) -> None:
    """Take out logins that nobody may finish any more."""
    await connection.execute("DELETE FROM auth.login_flows WHERE expires_at <= $1", at)
