"""Published packages, each in an environment of its own, made at the first use."""

import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from tests.servers.server import MissingServerError

CACHE = Path(os.environ.get("LLMRING_TEST_CACHE", Path.home() / ".cache" / "llmring-tests"))


def install_client(requirement: str) -> Path:
    """The programs of an environment with a published client.

    Args:
        requirement: name and version, such as `llmring==1.4.0`.

    Raises:
        MissingServerError: it could not be installed.
    """
    folder = CACHE / requirement.replace("==", "-")
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "client.lock"):
        if not (folder / "installed").exists():
            try:
                subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
                subprocess.run(
                    [folder / "bin" / "pip", "install", "--quiet", requirement], check=True, timeout=240
                )
            except subprocess.SubprocessError as error:
                raise MissingServerError(f"{requirement} could not be installed") from error
            (folder / "installed").touch()
    return folder / "bin"
