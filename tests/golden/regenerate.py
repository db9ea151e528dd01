"""Write `counters.json` anew: ``python tests/golden/regenerate.py``, from the root of the source tree.

The file guards against *unintended* change; it says nothing about correctness, for its numbers come out of the
program itself. After a change that is meant to alter behaviour, run this, read the summary of what moved (and why
that is right), and commit the file together with the change. With ``--check`` nothing is written and the exit
status says whether anything moved.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COUNTERS = HERE / "counters.json"
NOTE = (
    "Counters of fixed scenarios (scenarios.py). They guard against unintended change, not for correctness. "
    "After an intended change: python tests/golden/regenerate.py"
)


def counters(scenario) -> dict[str, int | str]:
    """What a run leaves: /proc/vmstat without zeroes, the time, and of each task the accesses and the stalls."""
    from pymem import simulate

    result = simulate(scenario)
    out: dict[str, int | str] = {"status": result.status, "time_ns": result.time_ns}
    out |= {name: value for name, value in result.vmstat.items() if value}
    for name, task in result.tasks.items():
        out[f"{name}: state"] = task.state
        out |= {f"{name}: accesses": task.accesses, f"{name}: major faults": task.maj_flt}
        out |= {f"{name}: {cause} ns": ns for cause, ns in task.stalls.items() if ns}
    return out


def current() -> dict[str, dict[str, int | str]]:
    """The counters of all scenarios, as the engine computes them now."""
    sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]
    from scenarios import scenarios

    return {name: counters(scenario) for name, scenario in scenarios().items()}


def stored() -> dict[str, dict[str, int | str]]:
    """The counters in the file; empty if there is none."""
    return json.loads(COUNTERS.read_text(encoding="utf-8"))["scenarios"] if COUNTERS.exists() else {}


def differences(old: dict, new: dict) -> list[str]:
    """One line per counter that differs."""
    lines = [f"{name}: gone" for name in old if name not in new]
    for name, values in new.items():
        before = old.get(name, {})
        for key in sorted(before.keys() | values.keys()):
            if before.get(key) != values.get(key):
                lines.append(f"{name}: {key}: {before.get(key, 0)} -> {values.get(key, 0)}")
    return lines


def main() -> int:
    """Compare, and write unless told otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if anything moved")
    check = parser.parse_args().check
    new = current()
    moved = differences(stored(), new)
    print("\n".join(moved) if moved else "nothing moved")
    if check:
        return int(bool(moved))
    text = json.dumps({"note": NOTE, "scenarios": new}, indent=1)
    COUNTERS.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
