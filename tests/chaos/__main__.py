"""`python -m tests.chaos --seed N --minutes M`, or `--short` for every kind of fault once.

Status 0: every promise was kept. Status 1: one was not; the report and the logs are in `tests/chaos/out`.
"""

import argparse
import asyncio
import secrets
import sys

from tests.chaos.run import OUT, Plan, run_chaos


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of load and faults; one at random by default")
    parser.add_argument("--minutes", type=float, default=30, help="how long faults are made")
    parser.add_argument("--short", action="store_true", help="every kind of fault once")
    parser.add_argument("--only", default="", help="kinds of fault, with commas, to look into something")
    asked = parser.parse_args()
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    only = tuple(kind for kind in asked.only.split(",") if kind)
    report = asyncio.run(run_chaos(Plan(seed, None if asked.short else asked.minutes, only=only)))
    print(report.as_tables())
    if report.is_clean():
        return 0
    for what in (*report.settlement.differences, *report.complaints, *report.unexpected[:20]):
        print(f"WRONG: {what}")
    if report.stale:
        print(f"WRONG: complete statistics lacked acknowledged records: {report.stale}")
    print(f"WRONG: see {OUT / 'report.json'} and {OUT / 'logs'}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
