"""Runs the samples in the order of their page, in one process of an environment with the published package.

Everything that is replaced in them is in `REPLACED`. What a sample takes for granted is in `BEFORE`.
"""

import json
import logging
import os
import re
import sys
from pathlib import Path

import llmring.api  # the section Configuration does not import it; without this, `api_url` means nothing

SAMPLES, SERVER, KEY, WEBHOOKS = sys.argv[1:]
REPLACED = {
    "https://api.llmring.ai": SERVER,
    "llmr_pk_your_key": KEY,
    "log_usage(...)": 'log_usage(model="gpt-4o-mini", provider="openai", input_tokens=1, origin="errors")',
    "messages=[...]": 'messages=[{"role": "user", "content": "Hello"}]',
}
KEPT_BEFORE = """
from llmring import LLMRing
before = LLMRing(use_local_db=True, registry_url="https://api.llmring.ai/registry", origin="kept")
for number in range(3):
    before.complete(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
before.local_usage.persist()
"""
BEFORE = {
    "Migration, step 1": KEPT_BEFORE,
    # The address that the sample registers is nobody's.
    "Webhook": f"real, api_service = api_service, APIService({WEBHOOKS!r}, 'k')",
}
AFTER = {
    "Configuration": """
import os
os.environ.update(exports)
from_environment = LLMRing(origin="environment")
for name in exports:
    del os.environ[name]
for each in (from_environment, ring):
    each.complete(model="gpt-4o-mini", messages=[...])
    each.api_service.flush()
""",
    "Example Integration Flow": """
assert {each.provider for each in models} == {"openai"} and len(models) > 10
assert model.key == "openai:gpt-4o-mini" and stats.total_requests == 0
assert response.content == "Hello yourself"
assert receipt.id and api_service.verify_receipt(receipt).valid
api_service.flush()
""",
    "Error Handling": "assert response.cost is not None and response.log_id",
    "Migration, step 3": """
ring.complete(model="gpt-4o-mini", messages=[...])
ring.api_service.flush()
again = api_service.import_usage_logs(usage_logs)
assert again.accepted == 3 and not again.refused
""",
    "Webhook": "api_service.close()\napi_service = real",
    "Custom Metadata": "ring.api_service.flush()",
    "Multi-Tenant": """
ring.complete(model="gpt-4o-mini", messages=[...])
api_service.flush()
""",
    "Debug Logging": "api_service.get_registry()",
}


def sections(page: str) -> dict[str, list[str]]:
    found = re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:]
    blocks = [re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) for text in found[1::2]]
    return dict(zip(found[::2], blocks, strict=True))


def run(name: str, code: str, namespace: dict[str, object]) -> None:
    for old, new in REPLACED.items():
        code = code.replace(old, new)
    exec(compile(code, name, "exec"), namespace)


def main() -> None:
    page = Path(SAMPLES).read_text()
    # The shell's block of the section Configuration.
    exports = dict(re.findall(r'^export (\w+)="(.*)"$', page, re.MULTILINE))
    for old, new in REPLACED.items():
        exports = {name: value.replace(old, new) for name, value in exports.items()}
    assert set(exports) == {"LLMRING_API_URL", "LLMRING_API_KEY"}
    namespace: dict[str, object] = {"__name__": "__main__", "exports": exports}
    done = []
    for name, blocks in sections(page).items():
        run(f"before {name}", BEFORE.get(name, ""), namespace)
        for block in blocks:
            run(name, block, namespace)
        run(f"after {name}", AFTER.get(name, ""), namespace)
        done.append(name)
    print(json.dumps(done))
    logging.shutdown()


assert llmring.api.APIService
assert "LLMRING_API_URL" not in os.environ
main()
