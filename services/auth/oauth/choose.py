"""The providers that the settings name. Authlib is loaded only where there are some: it takes 0.2 s."""

from typing import Final

from services.auth.oauth.provider import Provider
from services.auth.settings import AuthSettings
from shared.clock import Clock
from shared.web.outbound import Outbound

CALLBACK_PATH: Final = "/api/v1/auth/callback"


def build_providers(settings: AuthSettings, outbound: Outbound, clock: Clock) -> dict[str, Provider]:
    """By the name that they have in paths and in the table of identities."""
    callback = settings.public_url.rstrip("/") + CALLBACK_PATH
    found: dict[str, Provider] = {}
    if settings.google is not None:
        from services.auth.oauth.openid import OpenIdProvider

        found["google"] = OpenIdProvider(
            "google", settings.google, redirect_uri=f"{callback}/google", outbound=outbound, clock=clock
        )
    if settings.github is not None:
        from services.auth.oauth.github import GitHub

        found["github"] = GitHub(
            "github", settings.github, redirect_uri=f"{callback}/github", outbound=outbound
        )
    return found
