"""Passwords: which are accepted, and their argon2id hashes, computed beside the event loop."""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from unicodedata import normalize

from argon2 import PasswordHasher
from argon2.exceptions import HashingError, VerificationError, VerifyMismatchError
from argon2.low_level import ARGON2_VERSION

from services.auth.common_passwords import is_common
from services.auth.settings import AuthSettings
from shared.errors import UnavailableError

MIN_CHARS = 10
MAX_BYTES = 1024

_T = TypeVar("_T")


def parse_password(text: str, address: str | None = None) -> str:
    """Normalise a password to NFC, so that a letter typed in either composition is the same, and check it.

    There are no rules of composition. Common ones are refused, and those that anybody would try first: one
    character over and over, blanks, the account's own address (NIST SP 800-63B, section 3.1.1.2). Nothing is
    ever cut off.

    Args:
        text: as it was typed.
        address: of the account, where it is known.

    Raises:
        ValueError: it is too short, too long, one of these or has a NUL; the message does not repeat it.
    """
    password = normalize("NFC", text)
    if "\0" in password:
        raise ValueError("must not contain a NUL character.")
    if len(password) < MIN_CHARS:
        raise ValueError(f"must have at least {MIN_CHARS} characters.")
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"must have at most {MAX_BYTES} bytes in UTF-8.")
    if is_common(password):
        raise ValueError("must not be one of the most common passwords.")
    if password.isspace():
        raise ValueError("must not be blanks alone.")
    if len(set(password)) == 1:
        raise ValueError("must not be one character over and over.")
    if address is not None and password.casefold() in _parts(normalize("NFC", address).casefold()):
        raise ValueError("must not be the email address, or the part of it before the @.")
    return password


def _parts(address: str) -> tuple[str, str]:
    return address, address.rpartition("@")[0]


class PasswordHashes:
    """Computes argon2id hashes in a few threads of its own; the event loop never waits for one."""

    def __init__(self, settings: AuthSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.password_hash_passes,
            memory_cost=settings.password_hash_memory_kib,
            parallelism=settings.password_hash_lanes,
        )
        # Stands in where there is no hash to compare with, and costs what a real one does. Computing it would
        # cost every process that at its start.
        self._nobodys = _spell_hash(self._hasher, secrets.token_bytes(16), secrets.token_bytes(32))
        self._threads = ThreadPoolExecutor(settings.password_hashes_at_once, thread_name_prefix="argon2")
        self._most = settings.password_hashes_at_once + settings.password_hashes_waiting
        self._asked = 0

    async def hash(self, password: str) -> str:
        """The hash of a password from `parse_password`, in the PHC string format with its own salt.

        Raises:
            UnavailableError: too many are waiting already, or there is no memory for it.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether this is the password, in either Unicode composition.

        Without a hash the answer is no, and takes as long as with one.

        Raises:
            UnavailableError: too many are waiting already, or there is no memory for it.
        """
        typed = normalize("NFC", password)
        is_right = await self._run(lambda: self._is_right(password_hash or self._nobodys, typed))
        return is_right and password_hash is not None

    async def rehash(self, password: str) -> str:
        """The hash, by the settings of today, of a password that was right: it is accepted as it is.

        Raises:
            UnavailableError: as above.
        """
        return await self.hash(normalize("NFC", password))

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made with other settings than those of today."""
        return self._hasher.check_needs_rehash(password_hash)

    async def close(self) -> None:
        """Let go of the threads, without waiting for hashes that nobody waits for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _is_right(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._asked >= self._most:
            raise UnavailableError("Too many passwords are being checked at the moment.")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (HashingError, VerificationError) as error:
            raise UnavailableError("The password could not be hashed at the moment.") from error
        finally:
            self._asked -= 1


def _spell_hash(hasher: PasswordHasher, salt: bytes, digest: bytes) -> str:
    """The PHC string of a digest, as argon2 spells it (base64 without padding)."""
    salted, digested = (b64encode(part).decode().rstrip("=") for part in (salt, digest))
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salted}${digested}"
