"""Instructions of the engine per unit of work, counted by callgrind: a figure that no load on the host moves.

``python -m benchmarks.instructions [--functions N] [CASE...]`` runs the cases of `PROGRAMS` under valgrind, once with
their work and once without it, and prints the difference; with ``--functions`` also where they are spent.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = 1 << 16
ACCESSES = 400_000

# What runs; `work` is False in the run that is subtracted.  Each prints how many units the work was.
HEAD = "from benchmarks import cases as c\nfrom benchmarks.machine import FASTEST, QUEUED, machine_with_task, play\n"
PROGRAMS = {
    "hits only": f"""{HEAD}
engine, task = machine_with_task({PAGES} + {PAGES} // 8, {PAGES})
play(engine, task, c.first_touch({PAGES}))
records = c.zipf({ACCESSES}, {PAGES})
if work:
    play(engine, task, records)
print(len(records))
""",
    "first touch": f"""{HEAD}
engine, task = machine_with_task({PAGES} + {PAGES} // 8, {PAGES})
records = c.first_touch_of(c.zipf({30 * PAGES}, {PAGES}))
if work:
    play(engine, task, records)
print(len(records))
""",
    "first touch in order": f"""{HEAD}
engine, task = machine_with_task({PAGES} + {PAGES} // 8, {PAGES})
if work:
    play(engine, task, c.first_touch({PAGES}))
print({PAGES})
""",
    **{
        f"memory {share} %{what}, per fault": f"""{HEAD}
engine, task = machine_with_task({PAGES} * {share} // 100, {PAGES}, 2 * {PAGES}, {device})
play(engine, task, c.first_touch({PAGES}))
records = c.zipf({ACCESSES}, {PAGES})
before = engine.events_count()["pgfault"]
if work:
    play(engine, task, records)
print(engine.events_count()["pgfault"] - before)
"""
        for share in (50, 10)
        for what, device in (("", "FASTEST"), (", queue", "QUEUED"))
    },
}


def self_costs(out: Path) -> Counter[str]:
    """Instructions by function of the engine, from a file of callgrind."""
    names: dict[str, dict[str, str]] = {"ob": {}, "fn": {}}
    costs: Counter[str] = Counter()
    current = {"ob": "", "fn": ""}
    called = False
    for line in out.read_text(encoding="utf-8").splitlines():
        key, _, rest = line.partition("=")
        if key in ("ob", "fn", "cob", "cfn"):
            number, _, name = rest.partition(" ")
            table = names[key[-2:]]
            if name:
                table[number] = name
            if key in current:
                current[key] = table[number]
        elif key == "calls":
            called = True  # the next line is the callee's
        elif line[:1] in "+-*0123456789" and line:
            if called:
                called = False
            elif "/memcore/" in current["ob"]:
                costs[current["fn"]] += int(line.split()[1])
    return costs


def count(program: str, work: bool) -> tuple[Counter[str], int]:
    """Instructions by function of one run, and the units it printed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "callgrind.out")
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable, "-c",
             f"work = {work}\n{program}"],
            check=True, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        return self_costs(out), int(done.stdout)


def short(function: str) -> str:
    """``room.function`` of a name that Cython made."""
    name = function.split("'", maxsplit=1)[0].split(".", maxsplit=1)[0]
    return name.split("_7memcore_", 1)[-1].lstrip("0123456789")


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(PROGRAMS), help=", ".join(PROGRAMS))
    parser.add_argument("--functions", type=int, default=0, help="the most expensive functions of each case")
    options = parser.parse_args()
    for case in options.cases:
        if case not in PROGRAMS:
            parser.error(f"{case!r}; known are {', '.join(PROGRAMS)}")
        with_work, units = count(PROGRAMS[case], True)
        spent = with_work - count(PROGRAMS[case], False)[0]
        print(f"{case:<24}{sum(spent.values()) / units:>8.1f} instructions", flush=True)
        merged: Counter[str] = Counter()
        for function, cost in spent.items():
            merged[short(function)] += cost
        for function, cost in merged.most_common(options.functions):
            print(f"    {function:<36}{cost / units:>8.1f}")


if __name__ == "__main__":
    main()
