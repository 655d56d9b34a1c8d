"""Environments in which the built client is installed, alone or beside the published `llmring`."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from tests.live.client_environment import CACHE, install_client
from tests.servers.server import MissingServerError

CLIENT = Path(__file__).parents[2] / "client"
PYPROJECT = CLIENT / "pyproject.toml"
SOURCES = sorted((CLIENT / "src").rglob("*.py"))


def install_built(beside: str | None) -> Path:
    """The programs of an environment with the client as it is built from the working tree.

    Args:
        beside: name and version of another distribution in it, or None for an environment with nothing else.

    Raises:
        MissingServerError: it could not be installed.
    """
    name = f"api-client-{(beside or 'alone').replace('==', '-')}"
    folder = CACHE / f"{name}-{_digest(PYPROJECT)[:16]}"  # another set of dependencies is another environment
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{name}.lock"):
        try:
            wheel = build_wheel()
            done = folder / "with"
            if not done.exists():
                _make(folder, beside)
                _pip(folder / "bin", "install", str(wheel))
            elif done.read_text() != str(wheel):
                _pip(folder / "bin", "install", "--force-reinstall", "--no-deps", str(wheel))
            done.write_text(str(wheel))
        except subprocess.SubprocessError as error:
            raise MissingServerError(f"the client could not be installed: {error}") from error
    return folder / "bin"


def build_wheel() -> Path:
    """The client of the working tree, built."""
    folder = CACHE / "api-client-wheels" / _digest(PYPROJECT, CLIENT / "README.md", *SOURCES)[:16]
    with FileLock(CACHE / "api-client-wheels.lock"):
        if not list(folder.glob("*.whl")):
            _pip(Path(sys.executable).parent, "wheel", "--no-deps", "--wheel-dir", str(folder), str(CLIENT))
    [wheel] = folder.glob("*.whl")
    return wheel


def _make(folder: Path, beside: str | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if beside is None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    else:  # links take a second, where another installation takes a minute
        shutil.copytree(install_client(beside).parent, folder, symlinks=True, copy_function=os.link)


def _pip(programs: Path, *arguments: str) -> None:
    command = [programs / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    subprocess.run(command, check=True, timeout=400)


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(str(file).encode() + file.read_bytes() for file in files)).hexdigest()
