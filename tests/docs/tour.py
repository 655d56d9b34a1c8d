"""Runs the blocks of a page as its reader does: in order, in one shell, in one folder."""

import json
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.docs.pages import Block

_CUT = "== here ends the output of one block =="
_END = "END_OF_THE_BLOCK"

# What is another at each run. Longer patterns first; in the page these stand as they once came out.
_CHANGING = [
    (re.compile(r"llmr_pk_[0-9a-f]{48}"), "KEY"),
    (re.compile(r"\b[0-9a-f]{16}-[0-9a-f]{8}\b"), "REQUEST"),
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00(?::00)?)?"), "INSTANT"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DAY"),
    (re.compile(r'"\d{4}-\d\d"'), '"MONTH"'),
    (re.compile(r"[A-Za-z0-9+/]{86}==|[A-Za-z0-9+/]{43}="), "BASE64"),
    (re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{32}|[0-9a-f]{16})\b"), "HEX"),
]


def run_blocks(
    blocks: Sequence[Block], folder: Path, environment: Mapping[str, str], replace: Mapping[str, str]
) -> list[str]:
    """Run the marked blocks of a page; what each of them printed, in their order.

    Args:
        blocks: all blocks of the page.
        folder: where the shell stands.
        environment: all variables it sees.
        replace: text of the page, and what stands for it at this run.
    """
    script = ["set -eu"]
    for block in blocks:
        text = block.text
        for old, new in replace.items():
            text = text.replace(old, new)
        script.append(f"printf '\\n{_CUT}\\n'")
        if block.mark == "file":
            script.append(f"cat > {shlex.quote(block.argument or '')} <<'{_END}'\n{text}{_END}")
        elif block.mark == "run":
            is_python = block.language == "python"
            script.append(f".venv/bin/python - <<'{_END}'\n{text}{_END}" if is_python else text)
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    outputs = done.stdout
    for old, new in replace.items():
        outputs = outputs.replace(new, old)
    return outputs.split(f"\n{_CUT}\n")[1:]


def compare(block: Block, printed: str) -> str | None:
    """Why what was printed is not what the page shows, or None where it is."""
    shown, came = _settle(block.text), _settle(printed)
    if block.language == "json":
        same = _decode(shown) == _decode(came)
    else:
        same = _matches(shown.splitlines(), came.strip("\n").splitlines())
    return None if same else f"the page shows\n{shown}\nbut it printed\n{came}"


def _settle(text: str) -> str:
    for pattern, name in _CHANGING:
        text = pattern.sub(name, text)
    return text


def _decode(text: str) -> Any:
    # Numbers as they are written: 0.000375 is not 3.75e-4 to a reader.
    return json.loads(text, parse_float=str, parse_int=str)


def _matches(shown: list[str], came: list[str]) -> bool:
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line.rstrip()) + "\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in came)) is not None
