"""Nothing outlives the program that started it, not even when that is killed."""

import subprocess
import sys
from pathlib import Path

from tests.chaos.program import ROOT
from tests.chaos.reaper import start_reaper
from tests.servers.process import process_lives, wait_until


def test_what_lives_in_the_folder_ends_with_the_one_who_made_it(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    (folder / "server").mkdir(parents=True)
    inside = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], cwd=folder / "server", start_new_session=True
    )
    outside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=tmp_path)
    program = (
        "import pathlib, time; from tests.chaos.reaper import start_reaper;"
        f"start_reaper(pathlib.Path({str(folder)!r})); print('started', flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"started\n"
        assert process_lives(inside.pid)
        starter.kill()
        inside.wait(timeout=30)
        wait_until(lambda: not folder.exists(), 30, "the end of the folder")
        assert outside.poll() is None
    finally:
        for process in (inside, outside, starter):
            process.kill()
            process.wait()


def test_a_reaper_that_is_told_to_does_its_work_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    reaper = start_reaper(folder)
    assert reaper.stdin is not None
    reaper.stdin.close()
    assert reaper.wait(timeout=30) == 0
    assert not folder.exists()
