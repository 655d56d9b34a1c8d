"""A verifier that shares no code with ours: a Go program over the libraries of others."""

import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.deploy.tools import find_go, keep, run
from tests.servers.kafka.jars import cache_folder

_SOURCES = ("main.go", "go.mod", "go.sum")
_HERE = Path(__file__).parent


def find_stranger() -> Path:
    """The program, built at the first call.

    Raises:
        MissingServerError: there is no Go to build it with, or its modules cannot be fetched.
    """
    digest = sha256(b"".join((_HERE / name).read_bytes() for name in _SOURCES)).hexdigest()[:16]

    def build(folder: Path) -> None:
        for name in _SOURCES:
            shutil.copy(_HERE / name, folder)
        command = [str(find_go()), "build", "-mod=readonly", "-o", str(folder / "stranger"), "."]
        run(command, {**os.environ, "CGO_ENABLED": "0"}, folder)

    return keep(cache_folder() / f"stranger-{digest}", build) / "stranger"


def ask_stranger(program: Path, shown: dict[str, Any]) -> list[str]:
    """What the program found good, a line for each check.

    Raises:
        ValueError: something was not; the text says what.
    """
    done = subprocess.run([program], input=json.dumps(shown), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(done.stderr.strip())
    return done.stdout.splitlines()
