"""Host memory of the engine; each figure comes from a process of its own.

``python -m benchmarks.footprint NAME``, where NAME is ``full``, ``tebibyte``, ``pressure-1`` or ``pressure-1024``.
Prints one line: seconds, bytes of host memory, simulated frames; of the last two, seconds per page reclaimed.
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


def under_pressure(gib: int) -> tuple[float, int, int]:
    """A machine of so many GiB with every frame in use, whose task then stores to random pages of a sixteenth more:
    CPU seconds per page reclaimed, bytes of host memory, frames.
    """
    import numpy as np

    from benchmarks.machine import machine_with_task, play

    frames = gib << 18
    pages, step = frames + frames // 16, 1 << 24
    before = resident()
    engine, thread = machine_with_task(frames, pages, frames // 8)
    store = np.uint32(1 << 31)
    for first in range(0, pages, step):
        play(engine, thread, np.arange(first, min(first + step, pages), dtype=np.uint32) | store)
    records = np.random.default_rng(1).integers(0, pages, 4_000_000, dtype=np.uint32) | store
    stolen, begin = engine.events_count()["pgsteal_anon"], time.process_time()
    play(engine, thread, records)
    took = time.process_time() - begin
    return took / (engine.events_count()["pgsteal_anon"] - stolen), resident() - before, frames


def in_own_process(name: str) -> tuple[float, int, int]:
    """`measure` in a new process."""
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.footprint", name], check=True, capture_output=True, text=True,
        cwd=Path(__file__).resolve().parent.parent,
    ).stdout.split()  # fmt: skip
    return float(out[0]), int(out[1]), int(out[2])


if __name__ == "__main__":
    name, _, gib = sys.argv[1].partition("-")
    print(*(under_pressure(int(gib)) if gib else measure(name)))
