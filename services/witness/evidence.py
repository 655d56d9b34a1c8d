"""What a log signed and cannot be true together, kept for others to see."""

import json
import logging
import os
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from services.witness.key_file import sync_folder
from services.witness.state import Cosigned
from shared.clock import rfc3339
from shared.proofs.signing import encode_base64
from shared.proofs.tlog.witness import AddCheckpoint

Contradiction = Literal["fork", "unproved", "rewound"]
"""`fork`: two trees of one size, which is proof in itself. `unproved`: the proof from one checkpoint to the
other does not hold. `rewound`: the log shows a smaller tree than it had signed before."""

MOST_FILES: Final = 1_000
"""A stranger can send a bad proof with a good checkpoint. Forks, which none can make, are always kept."""

_log = logging.getLogger(__name__)


class Evidence:
    """A folder with a file for each contradiction.

    Args:
        folder: made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(
        self, kind: Contradiction, origin: str, cosigned: Cosigned, request: AddCheckpoint, at: datetime
    ) -> Path | None:
        """Write both checkpoints and the proof to a file, and say so loudly. None: it cannot be written."""
        pair = sha256(f"{cosigned.note}\0{request.note}".encode()).hexdigest()[:16]
        path = self._folder / f"{kind}-{cosigned.size}-{pair}.json"
        document = {
            "contradiction": kind,
            "origin": origin,
            "found_at": rfc3339(at),
            "cosigned": cosigned.note,
            "shown": request.note,
            "old_size": request.old_size,
            "proof": [encode_base64(each) for each in request.proof],
        }
        try:
            self._write(
                path, json.dumps(document, indent=2, ensure_ascii=False) + "\n", always=kind == "fork"
            )
        except OSError as error:
            _log.error("%s contradicts itself (%s), and %s cannot be written: %s", origin, kind, path, error)
            return None
        _log.error("%s CONTRADICTS ITSELF (%s): nothing is cosigned; the evidence is %s", origin, kind, path)
        return path

    def _write(self, path: Path, text: str, *, always: bool) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return
        if not always and sum(1 for _ in self._folder.iterdir()) >= MOST_FILES:
            raise OSError(f"there are {MOST_FILES} files already")
        draft = path.with_suffix(f".{os.getpid()}.draft")
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(self._folder)
