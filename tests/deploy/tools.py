"""The programs that check the deployment files: built or fetched once, and kept in the tests' cache folder.

`python -m tests.deploy.tools` gets all of them, and a Go toolchain where there is none.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from filelock import FileLock

from tests.deploy.schemas import write_schemas
from tests.servers.kafka.jars import cache_folder
from tests.servers.server import MissingServerError

HELM: Final = "helm.sh/helm/v4/cmd/helm@v4.3.1"
KUBECONFORM: Final = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"

_HERE: Final = Path(__file__).parent


def find_helm() -> Path:
    """Helm, built from source at the first call, which takes two minutes.

    Raises:
        MissingServerError: there is no Go to build it with.
    """
    return _build(HELM)


def find_kubeconform() -> Path:
    """Kubeconform, built from source at the first call.

    Raises:
        MissingServerError: there is no Go to build it with.
    """
    return _build(KUBECONFORM)


def find_compose() -> Path:
    """Docker Compose as a program of its own: it reads and checks a file without an engine.

    Raises:
        MissingServerError: it cannot be fetched.
    """
    return _fetch("tools.lock") / "bin" / "docker-compose"


def find_schemas() -> Path:
    """The folder with what Kubernetes says of its own objects, as kubeconform reads it.

    Raises:
        MissingServerError: they cannot be fetched.
    """
    packages = _fetch("tools.lock")
    source = packages / "kubernetes_validate" / "kubernetes-json-schema"
    return keep(packages.with_name(f"{packages.name}-schemas"), lambda folder: write_schemas(source, folder))


def find_go(*, fetch: bool = False) -> Path:
    """Go: this machine's, or the one in the cache folder.

    Args:
        fetch: put one there if there is none at all.

    Raises:
        MissingServerError: there is none.
    """
    found = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if found is not None:
        return Path(found)
    kept = _place("go.lock") / "go" / "bin" / "go"
    if not kept.exists() and not fetch:
        raise MissingServerError("it is built from source, and there is no Go")
    return _fetch("go.lock") / "go" / "bin" / "go"


def _build(module: str) -> Path:
    path, _, version = module.partition("@")
    name = path.rpartition("/")[2]

    def build(folder: Path) -> None:
        environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        run([str(find_go()), "install", module], environment)

    return keep(cache_folder() / f"{name}-{version}", build) / name


def _place(lock: str) -> Path:
    digest = sha256((_HERE / lock).read_bytes()).hexdigest()[:12]
    return cache_folder() / f"{lock.partition('.')[0]}-{digest}"


def _fetch(lock: str) -> Path:
    def fetch(folder: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        command += ["--require-hashes", "--target", str(folder), "--requirement", str(_HERE / lock)]
        run(command, dict(os.environ))

    return keep(_place(lock), fetch)


def keep(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, filled at the first call by any process; what was begun and not finished is never seen."""
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            partial = Path(tempfile.mkdtemp(dir=folder.parent))
            try:
                fill(partial)
            except BaseException:
                shutil.rmtree(partial)
                raise
            partial.rename(folder)
    return folder


def run(command: list[str], environment: dict[str, str], folder: Path | None = None) -> None:
    """Run a command to its end.

    Raises:
        MissingServerError: it failed.
    """
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode != 0:
        raise MissingServerError(f"{' '.join(command[:4])} failed: {done.stderr[-500:]}")


if __name__ == "__main__":
    find_go(fetch=True)
    for find in (find_compose, find_schemas, find_kubeconform, find_helm):
        print(find())
