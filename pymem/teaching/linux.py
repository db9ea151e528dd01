"""The same accesses under Linux: the real engine on a machine of a few pages, stopped after every event.

Nothing is decided here.  Before and after each event the engine is asked where every page is and with which bits;
what is told is what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pymem.devices import Disk, SwapDevice
from pymem.errors import ScenarioError, SimulationError
from pymem.records import Op, pack
from pymem.regions import Anon, File, Region
from pymem.scenario import Scenario, Task
from pymem.simulation import build
from pymem.topology import Boot, Machine, Node, Zone
from pymem.units import parse_time

from .changes import LISTS, Snapshot, told
from .references import Page, Reference, references_of
from .textbook import check_frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from memcore.engine import Engine

MIN_FRAMES = 4
MAX_FRAMES = 1024
MAX_PAGES = 4096
_KERNEL = 64  # pages that the kernel holds
_START_PFN = 1024
_SHORT = 256  # ns: less than reclaim needs for one page, so it is met after every one
_PATIENCE = 64
_RECLAIM = ("pgscan_kswapd", "pgscan_direct", "pgrefill", "pageoutrun")
_LOOKS = 1_000_000  # at the engine in one step: far more than any access needs


@dataclass(frozen=True)
class LinuxStep:
    """One access, and what happens until the next.

    Attributes
    ----------
    number : int
        From 1.
    page : int or str
    write : bool
        Also true for the first access to anonymous memory, see `explain_linux`.
    kind : str
        ``"hit"``, ``"minor fault"`` or ``"major fault"`` (with a read from swap or file).
    refault : int or None
        Evictions and activations since the page was evicted, if it had been.
    events : tuple of str
        What changed, in order.
    lists : dict
        Pages by list, the newest first, with their bits: see `MARKS`.
    swap : tuple of str
        Pages that are in swap or, evicted, on disk only.
    free : int
        Free pages after it, as the watermarks count them.
    percpu : int
        Further free pages, in the lists that every CPU has.
    time_ns : int
        Simulated time at its end.
    """

    number: int
    page: Page
    write: bool
    kind: str
    refault: int | None
    events: tuple[str, ...]
    lists: dict[str, tuple[str, ...]]
    swap: tuple[str, ...]
    free: int
    percpu: int
    time_ns: int


@dataclass(frozen=True)
class LinuxExplanation:
    """All steps, and what they come to.

    Attributes
    ----------
    frames : int
        Pages that fit while free memory is at the high watermark.
    watermarks : tuple of int
        min, low, high: below low kswapd begins, at high it stops.
    steps : tuple of LinuxStep
    counters : dict
        Of ``/proc/vmstat``, those that moved.
    """

    frames: int
    watermarks: tuple[int, int, int]
    steps: tuple[LinuxStep, ...]
    counters: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


#: Marks behind the pages of a list.
MARKS = {
    "*": "accessed: the processor has set the bit in the page table since reclaim looked last",
    "r": "referenced: reclaim, or a read(), has seen it used once",
    "w": "working set: was active before, or came back soon",
    "d": "dirty: differs from what swap or file has",
    "s": "in the swap cache: its swap slot is kept",
    "W": "under writeback",
}  # fmt: skip


def explain_linux(
    accesses: str | Iterable[Page | Reference], *, frames: int = 16, pause: int | str = "1ms",
    vm: Mapping[str, Any] | None = None, kernel: str = "6.12", swap: str = "nvme",
) -> LinuxExplanation:  # fmt: skip
    """Let Linux handle the accesses on a machine of a few pages, and tell what it does.

    Pages named ``f`` and a number, as in ``"1 2 f1 3 f1"``, are pages of a file that is mapped; all others are
    anonymous memory, whose first access is a store: memory that is only read would be the zero page and take no room.

    Parameters
    ----------
    accesses : str or iterable
        As for `pymem.teaching.explain`.
    frames : int
        Pages that fit beside a free memory at the high watermark; at least 4.
    pause : int or str
        Simulated time between two accesses, in which kswapd and devices do their work.  ``0``: the program is ahead
        of kswapd and has to reclaim memory for itself.
    vm : mapping, optional
        Tunables, such as ``{"swappiness": 10}``.
    kernel : {"6.12", "6.1"}
    swap : str
        Kind of the swap device; see `pymem.SwapDevice`.

    Raises
    ------
    TraceError, ScenarioError, TunableError
        Something in what was given that is not accepted; the message names it.
    SimulationError
        Memory ran out.
    """
    references = references_of(accesses)
    check_frames(frames, MIN_FRAMES)
    if frames > MAX_FRAMES:
        raise ScenarioError(f"frames: {frames}; accepted is up to {MAX_FRAMES}, each looked at after every event")
    pages = len({reference.page for reference in references})
    if pages > MAX_PAGES:
        raise ScenarioError(f"accesses: to {pages} pages; accepted are up to {MAX_PAGES}, or fewer accesses")
    return _Explainer(references, frames, parse_time(pause, "pause"), dict(vm or {}), kernel, swap).run()


def is_file(page: Page) -> bool:
    """Whether a page is one of the file: ``f0``, ``f1``, ..."""
    return isinstance(page, str) and page[0] == "f" and page[1:].isdigit()


def watermarks_for(frames: int) -> tuple[int, int, int]:
    """min, low and high of a machine so small that the kernel's formula would give 0."""
    gap = max(frames // 8, 4)  # no less than the pages that a per-CPU list takes at once
    return gap, 2 * gap, 3 * gap


class _Explainer:
    def __init__(
        self, references: list[Reference], frames: int, pause: int, vm: dict[str, Any], kernel: str, swap: str
    ) -> None:
        self.references, self.frames, self.pause = references, frames, pause
        pages = dict.fromkeys(reference.page for reference in references)
        anon = [page for page in pages if not is_file(page)]
        file = [page for page in pages if is_file(page)]
        self.names = [str(page) for page in anon + file]  # in the order of the regions
        self.number = {page: i for i, page in enumerate(anon + file)}
        self.anon = len(anon)
        regions: list[Region] = [Anon(len(anon), name="memory")] if anon else []
        if file:
            regions.append(File(pages=len(file), name="file"))
        self.watermarks = watermarks_for(frames)
        # What the task itself costs, its stack and page tables and what per-CPU lists hold back, is found out by
        # trying: first with plenty of memory, then with about the right amount.
        touched = np.arange(min(self.anon, frames)) if self.anon else np.zeros(1, np.int64)
        op = Op.STORE if self.anon else Op.LOAD
        free = plenty = 16 * frames + 4096
        for _ in range(2):
            engine, thread = self._start(self._scenario(regions, free, vm, kernel, swap))
            _feed(engine, thread, pack(touched, op))
            free += self.watermarks[2] + frames - len(touched) - engine.zones()[0]["free"]
            free = min(free, plenty)
        self.scenario = self._scenario(regions, free, vm, kernel, swap)
        self.engine, self.thread = self._start(self.scenario)

    def _scenario(self, regions: list[Region], free: int, vm: dict[str, Any], kernel: str, swap: str) -> Scenario:
        from pymem.workloads import Trace

        managed = free + _KERNEL
        zone = Zone("Normal", _START_PFN, managed, managed, managed, free, watermarks=self.watermarks)
        device = SwapDevice(max(4 * len(self.names), 1024) * 4096, swap)
        return Scenario(
            machine=Machine(
                nodes=(Node(0, 2, (zone,)),), swap=(device,), disk=Disk("nvme"),
                boot=Boot(slab_reclaimable=0, slab_freeable=0, slab_unreclaimable=0),
            ),
            # One page at a time, so that every page on a list was asked for.
            vm={
                "page-cluster": 0, "fault_around_bytes": 4096, "read_ahead_kb": 0, "transparent_hugepage": "never",
                "min_free_kbytes": self.watermarks[0] * 4, "watermark_boost_factor": 0, **vm,
            },
            # CPUs take turns after every step, so that looking at them in between changes nothing.
            kernel=kernel, sample_interval=0, costs={"sched_quantum": 1},
            tasks=[Task("program", Trace(np.zeros(1, np.uint32), regions), affinity=(0,))],
        )  # fmt: skip

    def _start(self, scenario: Scenario) -> tuple[Engine, int]:
        engine, tasks = build(scenario)
        engine.start()
        thread = next(iter(tasks))
        _run(engine)
        return engine, thread

    def run(self) -> LinuxExplanation:
        before = self.engine.events_count()
        touched: set[int] = set()
        steps = []
        for number, (page, write) in enumerate(self.references, 1):
            index = self.number[page]
            write = write or (index < self.anon and index not in touched)
            touched.add(index)
            steps.append(self._step(number, page, index, write))
        after = self.engine.events_count()
        moved = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        return LinuxExplanation(self.frames, self.watermarks, tuple(steps), moved)

    def _look(self, before: Snapshot | None = None) -> Snapshot:
        log, _ = self.engine.event_log()
        pages = self.engine.pages(self.thread)
        for i, state in enumerate(pages):
            if before is not None and state.get("isolated"):  # reclaim holds it: shown where it was
                state["lru"], state["place"] = before.pages[i]["lru"], before.pages[i]["place"]
        return Snapshot(
            pages, self.engine.zones()[0]["free"], self.engine.events_count(),
            self.engine.node_stats(), log, self.engine.now,
        )  # fmt: skip

    def _watch(self, now: Snapshot, said: list[str]) -> tuple[Snapshot, str]:
        """Let the engine work until the task wants its next record, and tell what is seen on the way."""
        engine = self.engine
        quiet = patience = 0
        for _ in range(_LOOKS):
            # Often while somebody may be at work, then less and less often, until the next thing happens.  An alarm of
            # an earlier record may still come: a look too many.
            engine.alarm(engine.now + (_SHORT << max(quiet - _PATIENCE, 0)))
            reason, _who = engine.run()
            events = engine.events_count()
            if any(events[name] != now.events[name] for name in _RECLAIM):
                patience = _PATIENCE
            elif patience:
                patience -= 1
            lines = []
            # Only reclaim changes pages without a counter that moves with each of them.
            if patience or reason not in ("alarm", "limit") or events != now.events:
                then = self._look(now)
                lines = told(now, then, self.names, self.watermarks)
                said += lines
                now = then
            quiet = 0 if lines else quiet + 1
            if reason not in ("alarm", "limit"):
                return now, reason
        raise SimulationError(f"the engine does not come back from an access after {_LOOKS} looks")

    def _step(self, number: int, page: Page, index: int, write: bool) -> LinuxStep:
        engine = self.engine
        now = self._look()
        shadow = now.pages[index]["shadow"]
        age = engine.nodes()[0]["nonresident_age"]
        refault = None if shadow is None else (age - shadow[0]) & 0xFFFFFFFF
        faults = engine.task(self.thread)
        said: list[str] = []
        own = "inactive_anon" if index < self.anon else "inactive_file"
        room = sum(now.stats[f"nr_{name}"] for name in LISTS if name != own)
        records = [pack([index], Op.STORE if write else Op.LOAD)]
        if self.pause:
            records.append(pack([self.pause], Op.SLEEP))
        for record in records:
            engine.feed(self.thread, record, False)
            now, reason = self._watch(now, said)
            if reason == "oom":
                raise SimulationError(
                    f"step {number}, page {page}: memory ran out, with nothing left to reclaim; accepted are more "
                    f"frames than {self.frames}"
                )
        after = engine.task(self.thread)
        kind = "hit"
        if after["maj_flt"] > faults["maj_flt"]:
            kind = "major fault"
        elif after["min_flt"] > faults["min_flt"]:
            kind = "minor fault"
        if refault is not None:
            since = f"evictions and activations since {page} left"
            said.insert(0, f"refault distance {refault}: {since}; the lists other than {own} hold {room} pages")
        lists = {name: now.list(i, self.names) for i, name in enumerate(LISTS)}
        percpu = sum(pcp["count"] for pcp in engine.zones()[0]["pcp"])
        gone = tuple(
            self.names[i] for i, state in enumerate(now.pages)
            if state["where"] == "swap" or (state["where"] == "disk" and state["shadow"] is not None)
        )  # fmt: skip
        return LinuxStep(number, page, write, kind, refault, tuple(said), lists, gone, now.free, percpu, now.time)


def _run(engine: Engine) -> None:
    while engine.run(1 << 20)[0] == "limit":
        pass


def _feed(engine: Engine, thread: int, records: Any) -> None:
    engine.feed(thread, records, False)
    _run(engine)
