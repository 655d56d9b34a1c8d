"""Make `publishes.jsonl.gz` from a folder of the public registry's files, `{provider}/v{n}.json`.

Run it again when there is more history:

    python -m services.registry.history.compact FOLDER

Each line is one publish of one provider, in time order: `{at, provider, number, models, removed}`. A model
has only the fields that changed since that provider's publish before, and null for a field that went away;
`removed` names the models that went away. Fields with a leading underscore are editors' notes and are left
out. Numbers keep their digits. To read it: `zcat publishes.jsonl.gz | head`.
"""

import gzip
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

OUTPUT: Final = Path(__file__).with_name("publishes.jsonl.gz")
_IN_KEY: Final = ("provider", "model_name")

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number", order="sorted")

Entries = dict[str, dict[str, Any]]


def compact(folder: Path) -> bytes:
    """The lines, compressed; the same files always give the same bytes."""
    lines: list[dict[str, Any]] = []
    for provider in sorted(path.name for path in folder.iterdir() if path.is_dir()):
        before: Entries = {}
        for file in sorted((folder / provider).glob("v*.json"), key=lambda path: int(path.stem[1:])):
            publish = _decoder.decode(file.read_bytes())
            after = _by_name(publish["models"])
            lines.append(
                {
                    "at": publish["updated_at"] + "Z",
                    "provider": provider,
                    "number": publish["version"],
                    "models": _changes(before, after),
                    "removed": sorted(before.keys() - after.keys()),
                }
            )
            before = after
    lines.sort(key=lambda line: (line["at"], line["provider"]))
    return gzip.compress(_encoder.encode_lines(lines), compresslevel=9, mtime=0)


def _by_name(models: dict[str, dict[str, Any]]) -> Entries:
    return {
        entry["model_name"]: {
            field: value
            for field, value in entry.items()
            if not field.startswith("_") and field not in _IN_KEY and value is not None
        }
        for entry in models.values()
    }


def _changes(before: Entries, after: Entries) -> Entries:
    changes: Entries = {}
    for name, entry in after.items():
        old = before.get(name, {})
        changed = {field: value for field, value in entry.items() if field not in old or old[field] != value}
        changed |= dict.fromkeys(old.keys() - entry.keys())
        if changed or name not in before:
            changes[name] = changed
    return changes


if __name__ == "__main__":
    OUTPUT.write_bytes(compact(Path(sys.argv[1])))
