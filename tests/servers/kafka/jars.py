"""The broker's jars: fetched once by Maven into a cache folder, and checked to be complete."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from tests.servers.server import MissingServerError

POM = Path(__file__).with_name("pom.xml")


def cache_folder() -> Path:
    """Where downloads for the tests are kept: `$LLMRING_TEST_CACHE`, or a folder in the user's cache."""
    chosen = os.environ.get("LLMRING_TEST_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "llmring-tests"


def find_java() -> str:
    """The path of a Java of version 17 or newer."""
    java = shutil.which("java")
    if java is None:
        raise MissingServerError("java is not installed")
    text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', text)
    if found is None or int(found[1]) < 17:
        raise MissingServerError("Kafka needs Java 17 or newer")
    return java


def find_jars() -> Path:
    """The folder with the broker's jars."""
    version = re.findall(r"<version>([\d.]+)</version>", POM.read_text())[-1]
    folder = cache_folder() / f"kafka-{version}"
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingServerError("the broker's jars are not in the cache, and mvn is not installed")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            partial = Path(tempfile.mkdtemp(dir=folder.parent))
            done = subprocess.run(
                [
                    maven,
                    "-q",
                    "-B",
                    "-f",
                    POM,
                    "dependency:copy-dependencies",
                    f"-DoutputDirectory={partial}",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                shutil.rmtree(partial)
                raise MissingServerError(f"Maven could not fetch the broker: {done.stdout[-500:]}")
            partial.rename(folder)
    return folder
