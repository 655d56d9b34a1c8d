"""What the service says of itself."""

from tests.auth.conftest import Auth


async def test_every_path_is_described_and_no_internal_one_is(auth: Auth) -> None:
    document = (await auth.http.get("/internal/openapi.json")).json()
    described = {
        path: {m: sorted(o["responses"]) for m, o in item.items()} for path, item in document["paths"].items()
    }
    assert described == {
        "/api/v1/register": {"post": ["201", "400", "409", "413", "422", "429", "503"]},
        "/api/v1/cli/register": {"post": ["201", "400", "409", "413", "422", "429", "503"]},
        "/api/v1/login": {"post": ["200", "400", "401", "413", "422", "429", "503"]},
        "/api/v1/password-reset": {"post": ["202", "400", "413", "422", "429", "503"]},
        "/api/v1/password-reset/confirm": {"post": ["200", "400", "413", "422", "429", "503"]},
        "/api/v1/auth/login": {"get": ["200", "429", "503"]},
        "/api/v1/auth/login/{provider}": {"get": ["302", "400", "404", "422", "429", "503"]},
        "/api/v1/auth/callback/{provider}": {"get": ["302", "400", "403", "404", "429", "503"]},
        "/api/v1/auth/retrieve-api-key": {
            "get": ["200", "401", "403", "404", "410", "429", "503"],
            "post": ["200", "401", "403", "404", "410", "429", "503"],
        },
        "/api/v1/auth/me": {"get": ["200", "401", "403", "429", "503"]},
        "/api/v1/auth/regenerate-api-key": {"post": ["201", "401", "403", "429", "503"]},
        "/api/v1/auth/logout": {"post": ["204", "401", "403", "429", "503"]},
        "/api/v1/keys": {
            "get": ["200", "400", "401", "403", "422", "429", "503"],
            "post": ["201", "400", "401", "403", "409", "413", "422", "429", "503"],
        },
        "/api/v1/keys/{key_id}": {
            "patch": ["200", "400", "401", "403", "404", "409", "413", "422", "429", "503"],
            "delete": ["204", "400", "401", "403", "404", "429", "503"],
        },
        "/api/v1/keys/{key_id}/rotate": {
            "post": ["201", "400", "401", "403", "404", "409", "413", "422", "429", "503"],
        },
        "/api/v1/admin/accounts/{account_id}/keys": {
            "get": ["200", "400", "401", "403", "404", "422", "429", "503"],
        },
        "/api/v1/admin/accounts/{account_id}/keys/{key_id}": {
            "delete": ["204", "400", "401", "403", "404", "429", "503"],
        },
        "/api/v1/account": {"get": ["200", "400", "401", "403", "429", "503"]},
        "/api/v1/audit": {"get": ["200", "400", "401", "403", "422", "429", "503"]},
        "/api/v1/admin/accounts": {"get": ["200", "400", "401", "403", "422", "429", "503"]},
        "/api/v1/admin/accounts/{account_id}": {
            "get": ["200", "400", "401", "403", "404", "429", "503"],
            "patch": ["200", "400", "401", "403", "404", "409", "413", "422", "429", "503"],
        },
    }


async def test_bodies_are_described_with_their_bounds(auth: Auth) -> None:
    paths = (await auth.http.get("/internal/openapi.json")).json()["paths"]
    register = paths["/api/v1/register"]["post"]["requestBody"]
    assert register["required"]
    schema = register["content"]["application/json"]["schema"]
    assert schema["required"] == ["email", "password"]
    patch = paths["/api/v1/admin/accounts/{account_id}"]["patch"]["requestBody"]
    fields = patch["content"]["application/json"]["schema"]["properties"]
    assert fields["tier"]["enum"] == ["free", "hobby", "pro", "team"]
    assert fields["retention_days"]["anyOf"] == [
        {"type": "integer", "minimum": 0, "maximum": 36_500},
        {"type": "null"},
    ]
    query = {p["name"]: p["schema"] for p in paths["/api/v1/admin/accounts"]["get"]["parameters"]}
    assert (query["limit"]["minimum"], query["limit"]["maximum"]) == (1, 500)
    assert set(query) == {"email", "limit", "cursor"}


async def test_every_refusal_is_described_as_a_problem(auth: Auth) -> None:
    paths = (await auth.http.get("/internal/openapi.json")).json()["paths"]
    for path, item in paths.items():
        for operation in item.values():
            for status, response in operation["responses"].items():
                kinds = list(response.get("content", ()))
                expected = (
                    []
                    if status in ("204", "302")
                    else ["application/json"]
                    if status < "300"
                    else ["application/problem+json"]
                )
                assert kinds == expected, (path, status)
