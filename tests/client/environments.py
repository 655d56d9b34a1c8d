"""Environments in which the built client is installed, alone or beside the published `llmring`."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from tests.live.client_environment import CACHE, install_client
from tests.servers.server import MissingServerError

CLIENT = Path(__file__).parents[2] / "client"


def install_built(beside: str | None) -> Path:
    """The programs of an environment with the client as it is built from the working tree.

    Args:
        beside: name and version of another distribution in it, or None for an environment with nothing else.

    Raises:
        MissingServerError: it could not be installed.
    """
    folder = CACHE / f"api-client-{(beside or 'alone').replace('==', '-')}"
    digest = _digest()
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        done = folder / "installed"
        try:
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                if beside is None:
                    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
                else:  # a copy takes seconds, where another installation takes a minute
                    shutil.copytree(install_client(beside).parent, folder, symlinks=True)
                    done.unlink()
            if not done.exists() or done.read_text() != digest:
                wheel = _build(folder)
                _pip(folder, "install", str(wheel))
                _pip(folder, "install", "--force-reinstall", "--no-deps", str(wheel))
                done.write_text(digest)
        except subprocess.SubprocessError as error:
            raise MissingServerError(f"the client could not be installed: {error}") from error
    return folder / "bin"


def _build(folder: Path) -> Path:
    wheels = folder / "wheels"
    for old in wheels.glob("*.whl"):
        old.unlink()
    _pip(folder, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(CLIENT))
    [wheel] = wheels.glob("*.whl")
    return wheel


def _pip(folder: Path, *arguments: str) -> None:
    command = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    subprocess.run(command, check=True, timeout=400)


def _digest() -> str:
    files = [CLIENT / "pyproject.toml", *sorted((CLIENT / "src").rglob("*.py"))]
    return hashlib.sha256(b"\0".join(str(file).encode() + file.read_bytes() for file in files)).hexdigest()
