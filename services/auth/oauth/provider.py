"""What is asked of a provider, whichever it is, and what it tells of somebody."""

import re
from typing import Final, NamedTuple, Protocol

from shared.errors import MalformedRequestError

_SAFE_WORD: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


class Identity(NamedTuple):
    """Somebody at a provider.

    Attributes:
        provider: its name here.
        subject: its own id of them, which never changes and is never given to another.
        email: an address of which it says that it has checked it; None when there is none such.
    """

    provider: str
    subject: str
    email: str | None


class Provider(Protocol):
    """A server that knows who somebody is."""

    async def authorization_url(self, *, state: str, verifier: str, nonce: str) -> str:
        """Where a browser goes to be asked, and comes back from with a code.

        Raises:
            UnavailableError: the provider is away.
        """
        ...

    async def identify(self, *, code: str, issuer: str | None, verifier: str, nonce: str) -> Identity:
        """Exchange the code for who it is.

        Args:
            code: what the browser brought.
            issuer: what it brought as `iss` (RFC 9207), if it did.
            verifier: of PKCE, as the flow began with it.
            nonce: as the flow began with it.

        Raises:
            MalformedRequestError: the code is none of this flow, or the answer is not to be trusted.
            UnavailableError: the provider is away, or does not accept this deployment.
        """
        ...


def untrusted(provider: str, why: str) -> MalformedRequestError:
    """The error of a login that must not go on."""
    return MalformedRequestError(f"The login at {provider} cannot be trusted: {why}. Begin again.")


def safe_word(text: object) -> str:
    """A provider's error code, if it is such as RFC 6749 has them; it comes by way of the browser."""
    return text if isinstance(text, str) and _SAFE_WORD.fullmatch(text) else "an error"
