"""The page that a mailed link opens, run in the bare minimum of a browser."""

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.gateway.conftest import House

STAGE = r"""
"use strict";
const [script, hash, answer] = process.argv.slice(2);
const parts = {};
const log = { sent: [], replaced: [] };
global.location = { hash, pathname: "/password-reset" };
global.history = { replaceState: (...given) => log.replaced.push(given[2]) };
global.document = {
  getElementById: (id) => (parts[id] ||= {
    hidden: true, value: id === "email" ? "nora@example.test" : "another horse battery", textContent: "",
    addEventListener(type, listener) { this[type] = listener; },
  }),
};
global.fetch = async (path, options) => {
  log.sent.push({ path, ...options });
  if (answer === "away") throw new TypeError("failed");
  return { ok: answer === "good", json: async () => ({ detail: `it was ${answer}` }) };
};
eval(require("fs").readFileSync(script, "utf8"));
const form = parts.ask && !parts.ask.hidden ? "ask" : "set";
log.before = log.sent.length;
parts[form].submit({ preventDefault() {} }).then(() => console.log(JSON.stringify({
  ...log, form, hidden: parts[form].hidden, state: parts.state.textContent })));
"""


async def _play(house: House, folder: Path, hash_: str, answer: str) -> Any:
    page = (await house.ask("GET", "/password-reset")).body.decode()
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (folder / "page.js").write_text(script)
    (folder / "stage.js").write_text(STAGE)
    arguments = [str(folder / "stage.js"), str(folder / "page.js"), hash_, answer]
    node = await asyncio.create_subprocess_exec(
        "node", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, errors = await asyncio.wait_for(node.communicate(), 60)
    assert node.returncode == 0, errors.decode()
    return msgspec.json.decode(out)


@pytest.mark.parametrize(
    ("answer", "hidden", "state"),
    [
        ("good", True, "it was good"),
        ("bad", False, "it was bad"),
        ("away", False, "The server could not be reached. Try again."),
    ],
)
async def test_the_page_of_a_link_sends_its_token_when_the_password_is_given_and_not_before(
    local_house: House, tmp_path: Path, answer: str, hidden: bool, state: str
) -> None:
    seen = await _play(local_house, tmp_path, "#tok-en_1", answer)
    assert (seen["before"], seen["form"], seen["replaced"]) == (0, "set", ["/password-reset"])
    [sent] = seen["sent"]
    assert (sent["path"], sent["method"]) == ("/api/v1/password-reset/confirm", "POST")
    assert msgspec.json.decode(sent["body"]) == {"token": "tok-en_1", "new_password": "another horse battery"}
    assert (sent["credentials"], sent["headers"]) == ("omit", {"Content-Type": "application/json"})
    assert (seen["hidden"], seen["state"]) == (hidden, state)


async def test_without_a_link_the_page_asks_for_one(local_house: House, tmp_path: Path) -> None:
    seen = await _play(local_house, tmp_path, "", "good")
    [sent] = seen["sent"]
    assert sent["path"] == "/api/v1/password-reset"
    assert msgspec.json.decode(sent["body"]) == {"email": "nora@example.test"}


async def test_opening_the_page_reaches_no_service_and_it_allows_nothing_else(local_house: House) -> None:
    for method in ("GET", "HEAD") * 5:
        answer = await local_house.ask(method, "/password-reset")
        assert answer.status == 200
    assert (await local_house.ask("POST", "/password-reset")).status == 405
    assert not any(service.requests for service in local_house.services.values())
    policy = answer.get("content-security-policy") or ""
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.get("referrer-policy") == "no-referrer"
