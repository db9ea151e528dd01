"""A small machine that tests drive operation by operation, all invariants checked after each."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

import pymem
from pymem.content import Content
from pymem.records import Op, pack
from pymem.regions import Anon
from pymem.simulation import build


@dataclass(frozen=True, kw_only=True)
class Fixed(Content):
    """Pages that compress to `size` bytes under every codec."""

    size: int = 1000

    def sizes(self, pages, version=0, codec="lz4"):
        return np.full(len(pages), self.size, np.uint16)

    def flags(self, pages, version=0):
        return np.zeros(len(pages), np.uint8)

    def page(self, number, version=0):
        raise AssertionError("nobody needs the bytes")


class SmallMachine:
    """One task over `pages` anonymous pages, on a machine where nothing happens unless it is asked for."""

    def __init__(self, pages=1000, kernel="6.12", vm=(), swap=(), content=None, memory="64MiB", costs=(), regions=None,
                 fork_at=0):  # fmt: skip
        regions = regions or [Anon(pages, content=content)]
        work = pymem.workloads.Trace(np.zeros(1, np.uint32), regions)
        self.scenario = pymem.Scenario(
            machine=pymem.Machine(memory=memory, cpus=2, swap=swap or [pymem.SwapDevice("64MiB")]),
            vm={"page-cluster": 0, "transparent_hugepage": "never", **dict(vm)}, kernel=kernel, costs=dict(costs),
            tasks=[pymem.Task("task", work, affinity=(0,))], sample_interval=0,
        )  # fmt: skip
        self.engine, tasks = build(self.scenario)
        self.thread = next(iter(tasks))
        if fork_at:
            flat = [{"pages": r.pages, "flags": 4, "file": 0, "pgoff": 0} for r in regions]
            self.child = self.engine.add_task(regions=flat, start=fork_at, fork_of=self.thread, affinity=(1,))
        self.engine.start()
        self.records([], self.thread)

    def records(self, records, thread=None):
        """Let a task, the first unless named, do these records of the general form; the other one sleeps."""
        thread = thread or self.thread
        fed = not len(records)
        while True:
            reason, who = self.engine.run()
            assert reason in ("chunk", "limit"), reason
            if reason == "limit":
                continue
            if who != thread:
                self.engine.feed(who, pack([1_000_000], Op.SLEEP), False)
            elif fed:
                break
            else:
                self.engine.feed(who, records, False)
                fed = True
        self.engine.verify()

    def store(self, first, count=1, thread=None):
        self.records(pack(np.arange(first, first + count), Op.STORE), thread)

    def load(self, first, count=1, thread=None):
        self.records(pack(np.arange(first, first + count), Op.LOAD), thread)

    def pageout(self, first, count=1):
        self.records(pack([first], Op.PAGEOUT, count))

    def drop(self, first, count=1):
        self.records(pack([first], Op.DONTNEED, count))

    def wait(self, ns):
        """Let simulated time pass, for devices and workers."""
        self.records(pack([ns], Op.SLEEP))

    def out(self, first, count=1):
        """Store to pages, then push them out of memory."""
        self.store(first, count)
        self.pageout(first, count)

    def __getitem__(self, name):
        """A counter of /proc/vmstat."""
        events = self.engine.events_count()
        return events[name] if name in events else self.engine.node_stats()[name]

    @property
    def zswap(self):
        return self.engine.swap()["zswap"]

    @property
    def zram(self):
        return next(area["zram"] for area in self.engine.swap()["areas"] if "zram" in area)

    @property
    def slots(self):
        """Swap slots in use."""
        return sum(area["used"] for area in self.engine.swap()["areas"])

    @property
    def task(self):
        return self.engine.task(self.thread)


class PageRules(RuleBasedStateMachine):
    """The operations on pages that state machines over a `SmallMachine`, in ``self.m``, have in common."""

    PAGES = 600
    spans = st.tuples(st.integers(0, PAGES - 1), st.integers(1, 120))

    def span(self, where):
        first, count = where
        return first, min(count, self.PAGES - first)

    @rule(where=spans)
    def store(self, where):
        self.m.store(*self.span(where))

    @rule(where=spans)
    def load(self, where):
        self.m.load(*self.span(where))

    @rule(where=spans)
    def pageout(self, where):
        self.m.pageout(*self.span(where))

    @rule(where=spans)
    def drop(self, where):
        self.m.drop(*self.span(where))
