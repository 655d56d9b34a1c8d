"""The witness's private key: one line in a file that its owner alone may read."""

import os
from pathlib import Path
from typing import Final, NamedTuple

from shared.proofs.signing import SEED_BYTES, SigningKey, decode_base64, encode_base64, new_seed
from shared.proofs.tlog.note import COSIGNATURE, NoteError, VerifierKey, check_key_name

_PREFIX: Final = "PRIVATE+KEY+"


class WitnessKeyError(Exception):
    """There is no right key, or none can be made; the text says what a person can do."""


class WitnessKey(NamedTuple):
    """What a witness signs with, and the name that its lines bear."""

    name: str
    key: SigningKey

    @property
    def verifier(self) -> VerifierKey:
        """What others verify its cosignatures with."""
        return VerifierKey(self.name, self.key.public_key, COSIGNATURE)


def make_key(path: Path, name: str) -> WitnessKey:
    """Make a key and write it to a new file, durably.

    Raises:
        WitnessKeyError: there is such a file already, it cannot be written, or the name will not do.
    """
    seed = new_seed()
    try:
        made = WitnessKey(check_key_name(name), SigningKey.from_seed(seed))
    except NoteError as error:
        raise WitnessKeyError(f"{name!r} will not do: {error}") from None
    material = encode_base64(bytes([COSIGNATURE]) + seed)
    line = f"{_PREFIX}{name}+{made.verifier.key_id.hex()}+{material}\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise WitnessKeyError(f"{path} cannot be made: {error.strerror}") from None
    sync_folder(path.parent)
    return made


def read_key(path: Path) -> WitnessKey:
    """Read a key that `make_key` wrote.

    Raises:
        WitnessKeyError: the file cannot be read, or holds none.
    """
    try:
        line = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WitnessKeyError(f"{path} cannot be read: {error}") from None
    name, _, rest = line.removeprefix(_PREFIX).partition("+")
    key_id, _, material = rest.partition("+")
    try:
        raw = decode_base64(material)
        found = WitnessKey(check_key_name(name), SigningKey.from_seed(raw[1:]))
    except ValueError:
        raise WitnessKeyError(f"{path} holds no key of a witness") from None
    if len(raw) != 1 + SEED_BYTES or raw[0] != COSIGNATURE or found.verifier.key_id.hex() != key_id:
        raise WitnessKeyError(f"{path} holds a key that is damaged, or none of a witness")
    return found


def sync_folder(folder: Path) -> None:
    """Make the names of files in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
