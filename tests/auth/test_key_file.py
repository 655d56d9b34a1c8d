"""The operator's key file, and the text of keys."""

import hashlib
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.auth.api_keys import new_api_key, read_api_key
from services.auth.key_file import KeyFile


def test_a_key_is_48_random_hex_digits_and_known_by_its_sha256() -> None:
    keys = [new_api_key() for _ in range(1000)]
    assert len({key.plain for key in keys}) == 1000
    for key in keys:
        assert re.fullmatch(r"llmr_pk_[0-9a-f]{48}", key.plain)
        assert key.sha256 == hashlib.sha256(key.plain.encode()).digest()
        assert key.prefix == key.plain[:16]
    assert keys[0].plain not in repr(keys[0])


@pytest.mark.parametrize(
    "text", ["", "llmr_pk_", "llmr_pk_" + "a" * 47, "llmr_pk_" + "G" * 48, "llmr_pk_" + "a" * 48 + "\n"]
)
def test_other_text_is_no_key_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="not an API key"):
        read_api_key(text)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "operator.key"
    key = new_api_key()
    assert KeyFile(path).read() is None
    assert KeyFile(path).read_or_write(key) == (key, True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == key.plain + "\n"
    assert [p.name for p in path.parent.iterdir()] == ["operator.key"]


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "operator.key")
    first, second = new_api_key(), new_api_key()
    file.read_or_write(first)
    assert file.read_or_write(second) == (first, False)
    file.remove(second)
    assert file.read() == first.plain
    file.remove(first)
    assert file.read() is None
    file.remove(first)


def test_of_many_writers_one_wins_and_all_agree(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "operator.key")
    with ThreadPoolExecutor(16) as threads:
        kept = list(threads.map(lambda _: file.read_or_write(new_api_key()), range(64)))
    assert sum(k.written for k in kept) == 1
    assert len({k.key.plain for k in kept}) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    key = new_api_key()
    assert KeyFile(tmp_path / "operator.key").read_or_write(key) == (key, True)
    assert [p.name for p in tmp_path.iterdir()] == ["operator.key"]


@pytest.mark.parametrize("content", [b"", b"not a key\n", b"\xff\xfe"])
def test_a_file_with_something_else_is_left_alone_and_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "operator.key"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"operator\.key"):
        KeyFile(path).read_or_write(new_api_key())
    assert path.read_bytes() == content
