"""How fast traces are read: import of text and binary formats, and replay of a native trace beside an array.

Run as ``python -m benchmarks.traces``.  Everything is generated from fixed seeds into a temporary folder; figures are
the best of several turns, so that what else runs on the host counts least.  Targets: lackey text 5 M lines/s, binary
formats 30 M records/s (ChampSim 30 M accesses/s: hashing alone is slower than so many instructions), replay at least
0.9 of the speed of an array, 10 GB of input in less than 300 MB of memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import pymem
from pymem.traces.importer import import_trace
from pymem.traces.readers.champsim import INSTRUCTION
from pymem.traces.readers.drmemtrace import ENTRY
from pymem.traces.readers.lcs import LAYOUTS, header
from pymem.traces.readers.oracle_general import REQUEST
from pymem.traces.readers.vscsi import VERSION_1
from pymem.traces.store import Writer
from pymem.workloads import Recorded, Trace, Workload, Zipf

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 3
LINES, RECORDS, ACCESSES = 4_000_000, 10_000_000, 30_000_000
PAGES = 1 << 16
BLOCK = 1_000_000
GIGABYTE = 10**9
PACKED = "oracleGeneral"  # the format by which packings are measured


def pages(count: int, seed: int = 1) -> np.ndarray:
    """Pages of `count` accesses, Zipf(0.9)."""
    drawn = Zipf(pages=PAGES, accesses=count, s=0.9).chunks(seed)
    return np.concatenate(list(drawn)).astype(np.uint64)


# ---- files ------------------------------------------------------------------------------------------------


def lackey(path: Path, lines: int) -> int:
    """Text as lackey prints it: three fetches, then a load or store, nine of ten to one of 32 pages in steady use."""
    rng = np.random.default_rng(1)
    count = lines // 4
    near = rng.random(count) < 0.9
    data = np.where(near, rng.integers(0, 32, count), rng.integers(0, PAGES, count))
    code = 0x401000 + np.cumsum(rng.random(count) < 0.1) % 16 * 4096
    with path.open("w", encoding="ascii") as file:
        file.write("==1== Lackey, an example Valgrind tool\n")
        for at, page in zip(code.tolist(), data.tolist(), strict=True):
            fetches = f"I  {at:08x},3\nI  {at + 3:08x},5\nI  {at + 8:08x},4\n"
            file.write(f"{fetches} {'LS'[page & 1]} 1ffe{page:04x}008,8\n")
    return count * 4 + 1


def oracle_general(path: Path, records: int) -> int:
    made = np.zeros(records, REQUEST)
    made["id"], made["size"], made["next"] = pages(records), 4096, -1
    made["time"] = np.arange(records) // 1000
    made.tofile(path)
    return records


def lcs(path: Path, records: int) -> int:
    made = np.zeros(records, LAYOUTS[2])
    made["id"], made["size"], made["next"], made["op"] = pages(records), 4096, -1, 12
    made["time"] = np.arange(records) // 1000
    path.write_bytes(header(2, records) + made.tobytes())
    return records


def vscsi(path: Path, records: int) -> int:
    made = np.zeros(records, VERSION_1)
    made["block"], made["bytes"], made["command"], made["version"] = pages(records) * 8, 4096, 0x28, 0x100
    made["us"] = np.arange(records)
    made.tofile(path)
    return records


def drmemtrace(path: Path, records: int) -> int:
    made = np.zeros(records, ENTRY)
    made["type"], made["size"] = np.arange(records) % 4 == 0, 8
    made["addr"] = pages(records) << np.uint64(12)
    made[0], made[1], made[-1] = (25, 0, 5), (24, 4, 1), (26, 0, 0)
    made.tofile(path)
    return records


def champsim(path: Path, records: int) -> int:
    made = np.zeros(records, INSTRUCTION)
    made["ip"] = 0x401000 + np.arange(records) % 5000
    made["src_mem"][:, 0] = pages(records) << np.uint64(12)
    made.tofile(path)
    return records


FORMATS: dict[str, tuple[Callable[[Path, int], int], int]] = {
    "lackey": (lackey, LINES), "drmemtrace": (drmemtrace, RECORDS), "oracleGeneral": (oracle_general, RECORDS),
    "lcs": (lcs, RECORDS), "vscsi": (vscsi, RECORDS), "champsim": (champsim, RECORDS // 4),
}  # fmt: skip


# ---- measuring --------------------------------------------------------------------------------------------


def best(
    run: Callable[[], object], turns: int = TURNS, before: Callable[[], object] = lambda: None
) -> tuple[float, float]:
    """Shortest time of several turns, on the clock and of the processor, in seconds; `before` each is not counted."""
    times = []
    for _ in range(turns):
        before()
        begin, used = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - begin, time.process_time() - used))
    return min(t for t, _ in times), min(t for _, t in times)


def packing_line(folder: Path, source: Path, name: str, records: int) -> str:
    """How long the packings of a trace take."""
    found = []
    for compression in ("zlib", "lzma"):

        def run(compression: str = compression) -> None:
            import_trace(source, folder / "out.pmt", form=name, compression=compression)

        speed = records / best(run, 1)[0] / 1e6
        found.append(f"{compression} {speed:.1f} M/s, {(folder / 'out.pmt').stat().st_size / records:.1f} B per record")
    return f"import {name:<14}packed with {'; with '.join(found)}"


def import_lines(folder: Path, share: float) -> list[str]:
    """A line for each format, and one for packing."""
    out = []
    for name, (make, count) in FORMATS.items():
        source = folder / f"{name}.in"
        records = make(source, max(int(count * share), 1000))

        def run(source: Path = source, name: str = name) -> None:
            import_trace(source, folder / "out.pmt", form=name, compression="none")

        def forget() -> None:
            (folder / "out.pmt").unlink(missing_ok=True)  # to give the pages of a file back takes time of its own

        run()
        wall, used = best(run, before=forget)
        mb = source.stat().st_size / 1e6
        speed, busy = records / wall / 1e6, records / used / 1e6
        out.append(f"import {name:<14}{speed:>8.1f} M/s{busy:>8.1f} M/s{mb / wall:>8.0f} MB/s")
        if name == PACKED:
            out.append(packing_line(folder, source, name, records))
        source.unlink()
    return out


def simulated(workload: object, memory: int) -> Callable[[], object]:
    """A run of one task on a machine of `memory` bytes."""
    scenario = pymem.Scenario(
        machine=pymem.Machine(memory=memory, cpus=1, swap=[pymem.SwapDevice("2GiB", kind="nvme")]),
        tasks=[pymem.Task("task", workload)], sample_interval=0,
    )  # fmt: skip
    return lambda: pymem.simulate(scenario)


def replay_lines(folder: Path, share: float) -> list[str]:
    """Replay from a file that is not packed, from a packed one, and from an array, by turns."""
    array = pages(max(int(ACCESSES * share), 1000)).astype(np.uint32)
    array[::3] |= np.uint32(1 << 31)
    for compression in ("none", "zlib", "lzma"):
        with Writer(folder / f"{compression}.pmt", compression=compression, level=1) as writer:
            writer.add_task("task", [pymem.Anon(PAGES)])
            writer.append(array)
    out = []
    for what, memory in (("hits", 1 << 29), ("memory 50 %", PAGES * 4096 // 2)):
        loads: dict[str, Workload] = {"array": Trace(array)}
        loads |= {packed: Recorded(folder / f"{packed}.pmt") for packed in ("none", "zlib", "lzma")}
        times: dict[str, list[float]] = {name: [] for name in loads}
        for _ in range(TURNS):
            for name, workload in loads.items():
                times[name].append(best(simulated(workload, memory), 1)[0])
        ratio = {name: min(times["array"]) / min(times[name]) for name in loads}
        ns = {name: min(times[name]) / len(array) * 1e9 for name in loads}
        out.append(
            f"replay {what:<14}{ns['array']:>6.1f} ns from an array, native {ratio['none']:.2f} of that speed, "
            f"packed with zlib {ratio['zlib']:.2f}, with lzma {ratio['lzma']:.2f}"
        )
    return out


def import_stream(gigabytes: float) -> None:
    """Import a generated file of oracleGeneral; prints bytes, seconds and the most memory used."""
    blocks = max(round(gigabytes * GIGABYTE / BLOCK / REQUEST.itemsize), 1)
    made = np.zeros(BLOCK, REQUEST)
    made["id"], made["size"], made["next"] = pages(BLOCK), 4096, -1
    with tempfile.TemporaryDirectory(prefix="pymem-bench-") as folder:
        source = Path(folder, "in.bin")
        with source.open("wb") as file:
            for _ in range(blocks):
                made.tofile(file)
        begin = time.perf_counter()
        import_trace(source, Path(folder, "out.pmt"), form="oracleGeneral", compression="none")
        took = time.perf_counter() - begin
    # Not what getrusage says: that includes the process from which this one was started.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    most = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(f"{blocks * BLOCK * REQUEST.itemsize} {took:.1f} {most}")


def memory_line(gigabytes: float) -> str:
    """`import_stream` in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.traces", "--stream", str(gigabytes)], check=True, capture_output=True,
        text=True, cwd=Path(__file__).resolve().parent.parent,
    ).stdout.split()  # fmt: skip
    size, took, most = int(found[0]), float(found[1]), int(found[2])
    return f"import of {size / 1e9:.1f} GB in {took:.0f} s, at most {most / 1e6:.0f} MB of memory"


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.traces", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of records")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="input of the measurement of memory; 0: none")
    parser.add_argument("--stream", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream is not None:
        import_stream(options.stream)
        return
    print(f"{'':21}{'clock':>8}{'':4}{'processor':>8}")
    with tempfile.TemporaryDirectory(prefix="pymem-bench-") as folder:
        for line in (*import_lines(Path(folder), options.share), *replay_lines(Path(folder), options.share)):
            print(line, flush=True)
    if options.gigabytes:
        print(memory_line(options.gigabytes))


if __name__ == "__main__":
    main()
