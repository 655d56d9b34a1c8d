"""Passwords: which are accepted, and their argon2id hashes, computed beside the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from unicodedata import normalize

from argon2 import PasswordHasher
from argon2.exceptions import HashingError

from services.auth.settings import AuthSettings
from shared.errors import UnavailableError

MIN_CHARS = 10
MAX_BYTES = 1024


def parse_password(text: str) -> str:
    """Normalise a password to NFC, so that a letter typed in either composition is the same, and check it.

    There are no rules of composition (NIST SP 800-63B, section 3.1.1.2), and nothing is ever cut off.

    Raises:
        ValueError: it is too short, too long or has a NUL; the message does not repeat it.
    """
    password = normalize("NFC", text)
    if "\0" in password:
        raise ValueError("must not contain a NUL character.")
    if len(password) < MIN_CHARS:
        raise ValueError(f"must have at least {MIN_CHARS} characters.")
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"must have at most {MAX_BYTES} bytes in UTF-8.")
    return password


class PasswordHashes:
    """Computes argon2id hashes in a few threads of its own; the event loop never waits for one."""

    def __init__(self, settings: AuthSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.password_hash_passes,
            memory_cost=settings.password_hash_memory_kib,
            parallelism=settings.password_hash_lanes,
        )
        self._threads = ThreadPoolExecutor(settings.password_hashes_at_once, thread_name_prefix="argon2")
        self._most = settings.password_hashes_at_once + settings.password_hashes_waiting
        self._asked = 0

    async def hash(self, password: str) -> str:
        """The hash of a password from `parse_password`, in the PHC string format with its own salt.

        Raises:
            UnavailableError: too many are waiting already, or there is no memory for it.
        """
        if self._asked >= self._most:
            raise UnavailableError("Too many passwords are being checked at the moment.")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._hasher.hash, password
            )
        except HashingError as error:
            raise UnavailableError("The password could not be hashed at the moment.") from error
        finally:
            self._asked -= 1

    async def close(self) -> None:
        """Let go of the threads, without waiting for hashes that nobody waits for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
