"""Ends every process that lives in a folder once the program that made it is gone, however it went.

    python -m tests.chaos.reaper FOLDER

It is started with a pipe as its standard input, whose other end its starter holds: the pipe closes with the
starter's death, a `kill -9` included.
"""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.program import ROOT

_PSUTIL: Any = psutil  # its functions carry no annotations


def start_reaper(folder: Path) -> "subprocess.Popen[bytes]":
    """Start one; close its `stdin` to set it to work at once."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.reaper", str(folder)],
        stdin=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )


def end_processes(folder: Path) -> int:
    """Kill every process whose working directory is in the folder; how many there were."""
    found = 0
    for process in _PSUTIL.process_iter():
        with contextlib.suppress(_PSUTIL.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder):
                process.kill()
                found += 1
    return found


if __name__ == "__main__":
    sys.stdin.buffer.read()
    place = Path(sys.argv[1])
    while end_processes(place):
        pass
    shutil.rmtree(place, ignore_errors=True)
