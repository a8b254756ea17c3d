"""Compare answers with a brute force: python -m tests.fuzz.matching [--seconds S] [--seed N]

Each round invents banks, changes them at random (entries, settings, rollbacks, restored backups),
builds segments, restarts followers, and asks for matches with random options. Every answer must be
that of `tests.fuzz.expected` at the revision that it names. A third of the time a real service
answers over gRPC (`tests.fuzz.served`): two workers and an indexer, which are killed meanwhile. A
third of it three services share a PostgreSQL, and all between them breaks (`tests.fuzz.shared`);
one goes through pgbouncer, if that is installed.

`--part` plays one of them only. `--round N`, `--service N` or `--shared N` plays what a finding
names again. Exits 1 where an answer is wrong, or a change was lost.
"""

import argparse
import logging
import sys
from collections.abc import Callable

from tests.banks.databases import postgres_server
from tests.banks.pooler import PGBOUNCER
from tests.fuzz.in_process import fuzz
from tests.fuzz.served import fuzz_served, one_service
from tests.fuzz.shared import fuzz_shared, one_round
from tests.fuzz.tally import Tally

PARTS: dict[str, Callable[[int, float, Tally], None]] = {
    "in-process": fuzz,
    "served": fuzz_served,
    "shared": fuzz_shared,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=PARTS, help="only this part")
    parser.add_argument("--round", type=int, help="only this round in this process")
    parser.add_argument("--service", type=int, help="only the service of this number")
    parser.add_argument("--shared", type=int, help="only the round of this number on PostgreSQL")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if PGBOUNCER is None:
        print("pgbouncer is not installed (apt-get install pgbouncer): no service goes through it")
    tally = Tally()
    if arguments.round is not None:
        fuzz(arguments.seed, float("inf"), tally, rounds=iter([arguments.round]))
    elif arguments.service is not None:
        one_service(arguments.seed, arguments.service, tally)
    elif arguments.shared is not None:
        with postgres_server() as server:
            one_round(arguments.seed, arguments.shared, tally, server)
    else:
        parts = [PARTS[arguments.part]] if arguments.part else list(PARTS.values())
        for part in parts:
            part(arguments.seed, arguments.seconds / len(parts), tally)
    compared = sum(number for name, number in tally.answers.items() if not name.startswith(" "))
    for title, counted in (("changes", tally.changes), ("answers", tally.answers)):
        print(title)
        for name, number in sorted(counted.items(), key=lambda pair: -pair[1]):
            print(f"  {number:9,}  {name}")
    for finding in tally.wrong:
        print(f"WRONG {finding}")
    print(f"{compared:,} comparisons, {len(tally.wrong)} wrong")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
