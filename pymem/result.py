"""What a run leaves: counters, time line, histograms, events and the table of tasks; arrays first."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem import objectives, procfs
from pymem.errors import PymemError
from pymem.plots import Plots

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MARK = "result.json"
HISTOGRAMS = "latency.csv"


@dataclass(frozen=True)
class Latency:
    """Histogram of the times of one kind of access.

    `counts[b]` accesses took at least `lower_ns[b]` and less than `lower_ns[b + 1]` simulated nanoseconds; buckets are
    12.5 % wide.  `total_ns` is the exact sum of their times.
    """

    counts: NDArray[np.uint64]
    lower_ns: NDArray[np.int64]
    total_ns: int

    @property
    def count(self) -> int:
        """Accesses of this kind."""
        return int(self.counts.sum())

    @property
    def mean_ns(self) -> float:
        """Mean, 0 without accesses."""
        return self.total_ns / self.count if self.count else 0.0

    def percentile(self, p: float) -> int:
        """Lower edge of the bucket with the p-th percentile (0 to 100), in ns; 0 without accesses."""
        if not 0 <= p <= 100:
            raise ValueError(f"percentile {p}; accepted is 0 to 100")
        if not self.count:
            return 0
        reached = np.searchsorted(np.cumsum(self.counts), max(self.count * p / 100, 1))
        return int(self.lower_ns[min(int(reached), len(self.lower_ns) - 1)])


@dataclass(frozen=True)
class TaskResult:
    """One task: what it did, what it waited for, what it held at the end.

    Attributes
    ----------
    name, pid
        Numbers are 1000 and up, in the order of the scenario.
    accesses, writes : int
        Loads, stores and pages of ``read()`` and ``write()``; stores and pages written among them.
    min_flt, maj_flt : int
        Faults without and with I/O.
    cpu_ns, start_ns, end_ns : int
        CPU time; begin; end, None while it runs.
    oom_killed, killed_by
        Killed by the kernel; the policy or daemon that killed it, ``""`` without.
    oom_score_adj, oom_score : int
        As set; as in ``/proc/PID/oom_score``, 0 to 2000, at the end, or when it was killed.
    stalls : dict of int
        Waiting time in ns by cause, see `docs/results.md`.
    latency : dict of Latency
        Times of accesses that did not hit, by kind.
    rss_anon, rss_file, swapents, page_tables : int
        Pages at the end of the run, 0 after exit.
    hiwater_rss : int
        Most pages that were resident.
    local, remote : int
        Its loads and stores by whether the page lay on the node of its CPU.
    local_ns, remote_ns : int
        The times that these accesses took, without faults.
    """

    name: str
    pid: int
    accesses: int
    writes: int
    min_flt: int
    maj_flt: int
    cpu_ns: int
    start_ns: int
    end_ns: int | None
    oom_killed: bool
    oom_score_adj: int
    stalls: dict[str, int]
    latency: dict[str, Latency] = field(repr=False)
    rss_anon: int = 0
    rss_file: int = 0
    swapents: int = 0
    page_tables: int = 0
    hiwater_rss: int = 0
    local: int = 0
    remote: int = 0
    local_ns: int = 0
    remote_ns: int = 0
    killed_by: str = ""
    oom_score: int = 0

    @property
    def stall_ns(self) -> int:
        """Time it waited, all causes together."""
        return sum(self.stalls.values())

    @property
    def remote_share(self) -> float:
        """Part of its loads and stores that went to memory of other nodes, 0 to 1."""
        return self.remote / (self.local + self.remote) if self.remote else 0.0

    @property
    def state(self) -> str:
        """``"killed"``, ``"finished"`` or ``"running"`` when the run ended."""
        return "killed" if self.oom_killed or self.killed_by else "running" if self.end_ns is None else "finished"


@dataclass(frozen=True)
class OomKill:
    """One decision of the OOM policy or of a daemon.

    Attributes
    ----------
    time_ns : int
    task, allocating : str
        Whom it hit (``""``: nobody, the kernel panicked), and who had asked for memory (``""`` for daemons).
    scores : dict of float
        By task; minus infinity: was no candidate.
    report : str
        The kernel's report, or a line that says what a daemon did.
    by : str
        Name of the policy or daemon; ``"kernel"`` where a daemon came too late.
    signal, reason : str
        SIGKILL or SIGTERM; why, of daemons.
    freed_pages, freed_swap : int
        Pages and swap slots that the victim held for itself and that its exit gives back.
    """

    time_ns: int
    task: str
    allocating: str
    scores: dict[str, float]
    report: str = field(repr=False)
    by: str = "kernel"
    signal: str = "SIGKILL"
    reason: str = ""
    freed_pages: int = 0
    freed_swap: int = 0


class Timeline:
    """Rows sampled in simulated time: `columns` maps a name to an int64 array, one value per row."""

    def __init__(self, columns: dict[str, NDArray[np.int64]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> NDArray[np.int64]:
        if name not in self.columns:
            raise KeyError(f"{name!r}; the time line has {', '.join(self.columns)}")
        return self.columns[name]

    def to_pandas(self) -> pd.DataFrame:
        """A frame indexed by simulated time in seconds. Needs pandas: ``pip install 'pymem-sim[parquet]'``."""
        import pandas as pd

        frame = pd.DataFrame({k: v for k, v in self.columns.items() if k != "time_ns"})
        frame.index = pd.Index(self.columns["time_ns"] / 1e9, name="time_s")
        return frame

    def to_parquet(self, path: str | Path) -> None:
        """Write as Parquet to `path`. Needs pyarrow: ``pip install 'pymem-sim[parquet]'``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(self.columns), path)


@dataclass
class Result:
    """Everything a run leaves.

    Attributes
    ----------
    name : str
        Of the scenario.
    status : {"complete", "interrupted", "time limit", "panic", "stuck"}
    time_ns : int
        Simulated time at the end.
    vmstat : dict of int
        As ``/proc/vmstat``, in the kernel's order.
    meminfo : dict of int
        As ``/proc/meminfo``, in KiB.
    zones : list of dict
        As ``/proc/zoneinfo``, in pages.
    psi : dict of dict
        As ``/proc/pressure``: ``total`` in ns, ``avg`` in percent over 10, 60 and 300 s.
    nodes : list of dict
        NUMA nodes: CPUs, distances, tier, and what Linux shows in ``/sys/devices/system/node/nodeN``.
    tasks : dict of TaskResult
    timeline : Timeline
    events : structured array
        Fields time (ns), kind, who, value; `event_kinds` names the kinds and `docs/results.md` their fields.
    events_dropped : int
        Events that were too many to keep.
    oom_kills : list of OomKill
    devices : list of dict
        Swap devices in the order given, the disk of files, backing devices: requests, pages, busy time in ns.
    swap : dict
        Slots ``total`` and ``free``, and per area; zram and zswap with their own figures.
    provenance : dict
        Versions, platform, the scenario and its digest.
    host_seconds : float
        What the run took here; not part of what is saved.
    """

    name: str
    status: str
    time_ns: int
    vmstat: dict[str, int]
    meminfo: dict[str, int]
    zones: list[dict[str, Any]]
    psi: dict[str, dict[str, Any]]
    tasks: dict[str, TaskResult]
    timeline: Timeline
    events: NDArray[Any]
    event_kinds: list[str]
    events_dropped: int
    oom_kills: list[OomKill]
    devices: list[dict[str, Any]]
    swap: dict[str, Any]
    provenance: dict[str, Any]
    nodes: list[dict[str, Any]] = field(default_factory=list)
    host_seconds: float = 0.0

    @property
    def accesses(self) -> int:
        """Accesses of all tasks."""
        return sum(task.accesses for task in self.tasks.values())

    @property
    def zoneinfo(self) -> str:
        """Text of ``/proc/zoneinfo``."""
        return procfs.zoneinfo_text(self.zones)

    @property
    def plot(self) -> Plots:
        """Figures: ``result.plot.memory()`` and others, see `pymem.plots.Plots`. Needs matplotlib."""
        return Plots(self)

    def events_of(self, kind: str) -> NDArray[Any]:
        """The events of one `kind` of `event_kinds`; another one raises KeyError."""
        if kind not in self.event_kinds:
            raise KeyError(f"{kind!r}; event kinds are {', '.join(self.event_kinds)}")
        return np.asarray(self.events[self.events["kind"] == self.event_kinds.index(kind)])

    def to_dict(self) -> dict[str, Any]:
        """All but the time line and the events, as JSON takes it. The host's own time is left out.

        A score that is not finite (a task that may not be killed) becomes None, as JSON has no infinity.
        """
        tasks = {}
        for name, task in self.tasks.items():
            latency = {
                kind: {"count": h.count, "total_ns": h.total_ns,
                       **{f"p{p:g}_ns": h.percentile(p) for p in (50, 90, 99, 99.9)}}
                for kind, h in task.latency.items()
            }  # fmt: skip
            row = {k: v for k, v in vars(task).items() if k != "latency"}
            tasks[name] = {**row, "stall_ns": task.stall_ns, "state": task.state, "latency": latency}
        return {
            "name": self.name, "status": self.status, "partial": self.status == "interrupted",
            "time_ns": self.time_ns, "accesses": self.accesses, "outcomes": objectives.outcomes(self),
            "vmstat": self.vmstat, "meminfo": self.meminfo, "zones": self.zones, "nodes": self.nodes, "psi": self.psi,
            "tasks": tasks,
            "devices": self.devices, "swap": self.swap,
            "oom_kills": [_kill_row(kill) for kill in self.oom_kills], "events_dropped": self.events_dropped,
            "provenance": self.provenance,
        }  # fmt: skip

    def save(self, folder: str | Path) -> Path:
        """Write everything into `folder`; all of it or nothing.

        An earlier result at the place is replaced; any other folder that is not empty, and a place that cannot be
        written, raise PymemError.

        Returns
        -------
        Path
            The folder, with ``result.json``, ``timeline.npz`` (``timeline.parquet`` too where pyarrow is installed),
            ``events.csv``, ``latency.csv``, ``oom.txt``, ``proc/`` and, with several nodes, ``sys/`` with the files as
            the kernel prints them.
        """
        place = Path(folder)
        check_folder(place)
        try:
            self._replace(place.resolve())
        except OSError as error:
            raise PymemError(f"{place}: cannot be written: {error.strerror}") from None
        return place

    def _replace(self, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        fresh, old = work / "new", work / "old"
        try:
            self._write(fresh)
            if place.exists():
                os.replace(place, old)
            try:
                os.replace(fresh, place)
            except BaseException:
                if old.exists():
                    os.replace(old, place)
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        (folder / "proc" / "pressure").mkdir(parents=True)
        (folder / MARK).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        (folder / "proc" / "vmstat").write_text(procfs.vmstat_text(self.vmstat), encoding="utf-8")
        (folder / "proc" / "meminfo").write_text(procfs.meminfo_text(self.meminfo), encoding="utf-8")
        (folder / "proc" / "zoneinfo").write_text(self.zoneinfo, encoding="utf-8")
        for kind in ("memory", "io", "cpu"):
            (folder / "proc" / "pressure" / kind).write_text(procfs.pressure_text(self.psi, kind), encoding="utf-8")
        if len(self.nodes) > 1:
            for node in self.nodes:
                place = folder / "sys" / f"node{node['node']}"
                place.mkdir(parents=True)
                (place / "numastat").write_text(procfs.lines_text(node["numastat"]), encoding="utf-8")
                (place / "vmstat").write_text(procfs.lines_text(node["vmstat"]), encoding="utf-8")
                text = procfs.node_meminfo_text(node["node"], node["meminfo"])
                (place / "meminfo").write_text(text, encoding="utf-8")
        np.savez_compressed(folder / "timeline.npz", **self.timeline.columns)  # type: ignore[arg-type]
        with contextlib.suppress(ImportError):  # an extra
            self.timeline.to_parquet(folder / "timeline.parquet")
        lines = ["time_ns,event,who,value"]
        lines += [f"{e['time']},{self.event_kinds[e['kind']]},{e['who']},{e['value']}" for e in self.events]
        (folder / "events.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        with (folder / HISTOGRAMS).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["task", "kind", "lower_ns", "count"])
            for task in self.tasks.values():
                for kind, h in task.latency.items():
                    rows.writerows([task.name, kind, h.lower_ns[b], h.counts[b]] for b in np.flatnonzero(h.counts))
        if self.oom_kills:
            (folder / "oom.txt").write_text("\n".join(kill.report for kill in self.oom_kills), encoding="utf-8")


def _kill_row(kill: OomKill) -> dict[str, Any]:
    row = asdict(kill)
    row["scores"] = {name: score if math.isfinite(score) else None for name, score in kill.scores.items()}
    return row


def check_folder(place: Path) -> None:
    """Raise PymemError unless a result may be written to this place."""
    above = next(parent for parent in place.absolute().parents if parent.exists())
    if not above.is_dir():
        raise PymemError(f"{place}: {above} is a file; accepted is a place for a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise PymemError(f"{place}: no permission to write in {above}")
    if place.exists() and not place.is_dir():
        raise PymemError(f"{place}: is a file; accepted is a folder for the result")
    if place.is_dir() and any(place.iterdir()) and not (place / MARK).exists():
        raise PymemError(f"{place}: is not empty and holds no result ({MARK} is missing); name another folder")


def bucket_edges(buckets: int) -> NDArray[np.int64]:
    """Lower edges in ns of the latency buckets of the engine: 8 per power of two."""
    number = np.arange(buckets, dtype=np.int64)
    shift = np.maximum(number // 8 - 1, 0)
    edges = np.where(number < 8, number, (8 + number % 8) << np.minimum(shift, 58))
    return np.asarray(edges, np.int64)
