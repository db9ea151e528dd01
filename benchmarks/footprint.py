"""Host memory of the engine; each figure comes from a process of its own.

``python -m benchmarks.footprint NAME``, where NAME is ``full`` or ``tebibyte``.
Prints one line: seconds, bytes of host memory, simulated frames.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

FRAMES = 1 << 22  # 16 GiB
TEBIBYTE = 1 << 28


def resident() -> int:
    """Bytes of host memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS")


def measure(name: str) -> tuple[float, int, int]:
    """Build a machine: ``full`` is one with a page in every frame, ``tebibyte`` one of 1 TiB, empty."""
    from benchmarks.cases import first_touch
    from benchmarks.machine import machine, machine_with_task, play

    frames = FRAMES if name == "full" else TEBIBYTE
    pages = frames - frames // 64
    records = first_touch(pages) if name == "full" else None
    before, begin = resident(), time.perf_counter()
    if records is None:
        engine = machine(frames)
    else:
        engine, thread = machine_with_task(frames, pages)
        play(engine, thread, records)
    took = time.perf_counter() - begin
    used = resident() - before
    assert engine.total_pages >= frames
    return took, used, frames


def in_own_process(name: str) -> tuple[float, int, int]:
    """`measure` in a new process."""
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.footprint", name], check=True, capture_output=True, text=True,
        cwd=Path(__file__).resolve().parent.parent,
    ).stdout.split()  # fmt: skip
    return float(out[0]), int(out[1]), int(out[2])


if __name__ == "__main__":
    print(*measure(sys.argv[1]))
