"""The distribution, installed with pip alone, by root and by an ordinary user."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.process import ServerProcess

ROOT = Path(__file__).parents[2]
CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}


def system_python() -> str:
    """A Python that other users may run: pytest's own may lie in root's home."""
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        for folder in ("/usr/bin", "/usr/local/bin"):
            path = Path(folder) / name
            if (
                path.exists()
                and subprocess.run(
                    [path, "-c", "import ensurepip, sys; assert sys.version_info >= (3, 11)"],
                    check=False,
                    capture_output=True,
                ).returncode
                == 0
            ):
                return str(path)
    return sys.executable


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that belongs to the user who will run the program."""
    folder = Path("/tmp") / f"llmring-install-{os.getpid()}"
    folder.mkdir(mode=0o755)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pip_install_and_serve_work_for_an_ordinary_user(home: Path, tmp_path: Path) -> None:
    as_user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT],
        check=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    shutil.copy(wheel, home)
    environment = {**os.environ, "HOME": str(home), "PIP_NO_CACHE_DIR": "1"}
    for command in (
        [system_python(), "-m", "venv", str(home / "venv")],
        [
            str(home / "venv/bin/pip"),
            "install",
            "--quiet",
            "--require-hashes",
            "-r",
            str(ROOT / "requirements.lock"),
        ],
        [str(home / "venv/bin/pip"), "install", "--quiet", "--no-deps", str(home / wheel.name)],
    ):
        subprocess.run([*as_user, *command], env=environment, cwd=home, check=True)
    command = [*as_user, str(home / "venv/bin/llmring-api"), "serve"]
    process = ServerProcess(home / "data", command, HOME=str(home))
    try:
        process.start()
        headers = {"X-API-Key": process.operator_key}
        answer = httpx.post(f"{process.url}/api/v1/log", json=CALL, headers=headers)
        assert (answer.status_code, answer.json()["cost"]) == (200, 0.00021)
        owner = (home / "data" / "operator.key").owner()
        assert owner == ("nobody" if as_user else pwd.getpwuid(os.geteuid()).pw_name)
    finally:
        process.stop()
