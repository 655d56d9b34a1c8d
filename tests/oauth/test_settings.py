"""The settings of logins elsewhere, as the environment gives them."""

import click
import pytest

from services.auth.settings import OAuthClient
from services.cli.settings import load_settings

SECRET = "not-to-be-told"


def test_without_settings_nobody_logs_in_elsewhere() -> None:
    assert (load_settings().auth.google, load_settings().auth.github) == (None, None)


def test_a_provider_needs_its_id_and_its_secret_and_has_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("GOOGLE_CLIENT_ID", "us"),
        ("GOOGLE_CLIENT_SECRET", SECRET),
        ("GITHUB_CLIENT_ID", "us"),
        ("GITHUB_CLIENT_SECRET", SECRET),
        ("GITHUB_URL", "https://github.example.com"),
    ):
        monkeypatch.setenv(f"LLMRING_{name}", value)
    auth = load_settings().auth
    assert auth.google == OAuthClient(client_id="us", client_secret=SECRET, url="https://accounts.google.com")
    assert auth.github == OAuthClient(client_id="us", client_secret=SECRET, url="https://github.example.com")
    assert SECRET not in repr(auth)
    assert SECRET not in repr(auth.google)


def test_what_is_wrong_is_named_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMRING_GOOGLE_CLIENT_ID", "us")
    monkeypatch.setenv("LLMRING_GITHUB_CLIENT_SECRET", SECRET)
    for url in (
        "accounts.google.com",
        "ftp://x.test",
        "https://",
        "https://x.test?a=b",
        "https://u:p@x.test",
    ):
        monkeypatch.setenv("LLMRING_GOOGLE_ISSUER", url)
        with pytest.raises(click.ClickException) as refused:
            load_settings()
        told = refused.value.message
        assert [line.split(":")[0] for line in told.splitlines()] == [
            "LLMRING_GOOGLE_CLIENT_ID, LLMRING_GOOGLE_CLIENT_SECRET",
            "LLMRING_GITHUB_CLIENT_ID, LLMRING_GITHUB_CLIENT_SECRET",
            "LLMRING_GOOGLE_ISSUER",
        ], url
        assert SECRET not in told
