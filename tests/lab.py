"""A workbench for tests of the engine: tiny machines whose every page is known, driven step by step.

A `Lab` feeds its tasks a few records at a time and says which counters they moved, so that a test can hold
each number against the kernel's rules.
"""

from __future__ import annotations

import numpy as np

from pymem import Anon, File, Machine, Scenario, Task
from pymem.records import Op, pack
from pymem.simulation import build
from pymem.topology import Boot, Node, Zone
from pymem.workloads.base import Workload

MS = 1_000_000
SECOND = 1_000_000_000

#: No huge pages (they raise min_free_kbytes) and a reserve that divides well: min 64, low 80, high 96 pages.
VM = {"transparent_hugepage": "never", "min_free_kbytes": 256}
NO_SLAB = Boot(kernel=0, slab_reclaimable=0, slab_freeable=0, slab_unreclaimable=0)


def zone(pages, start=1, name="Normal"):
    """A zone all of whose pages are free."""
    return Zone(name, start, pages, pages, pages, pages)


def machine(*nodes, cpus=1, swap=(), **more):
    """A machine of one zone per node, given in pages; the first node has the CPUs unless `cpus` is a tuple."""
    per_node = cpus if isinstance(cpus, tuple) else (cpus,) + (0,) * (len(nodes) - 1)
    start, out = 1, []
    for pages, n in zip(nodes, per_node, strict=True):
        out.append(Node(zones=(zone(pages, start),), cpus=n))
        start += pages
    return Machine(nodes=out, swap=swap, boot=NO_SLAB, **more)


class Script(Workload):
    """Records made by hand, in chunks as given."""

    def __init__(self, regions, *chunks):
        self.regions = tuple(regions)
        self.given = chunks

    def chunks(self, seed):
        yield from self.given


def anon(pages, **more):
    return Anon(pages=pages, **more)


def file(pages, name="data", **more):
    return File(pages=pages, name=name, **more)


def _many(op, pages):
    return np.atleast_1d(pack(pages if isinstance(pages, int) else list(pages), op))


def load(pages):
    """Loads from one page or from each page of a range."""
    return _many(Op.LOAD, pages)


def store(pages):
    """Stores to one page or to each page of a range."""
    return _many(Op.STORE, pages)


def op(what, page=0, count=1):
    """Any other operation; for SLEEP `page` is a time in ns."""
    return np.atleast_1d(pack(page, what, count))


def sleep(ns):
    return op(Op.SLEEP, ns)


class Lab:
    """An engine with tasks that do what they are told and nothing else.

    Tasks that have nothing to do sleep, a millisecond at a time.  `settings`: further arguments of `Task`, by name.
    """

    def __init__(self, machine, *, kernel="6.12", vm=None, costs=None, settings=None, **tasks):
        settings = settings or {}
        scenario = Scenario(
            machine=machine, kernel=kernel, vm={**VM, **(vm or {})}, costs=costs or {}, sample_interval=0,
            tasks=[Task(name, Script(regions, []), **settings.get(name, {})) for name, regions in tasks.items()],
        )  # fmt: skip
        self.engine, by_thread = build(scenario)
        self.thread = {task.name: number for number, task in by_thread.items()}
        self.engine.start()
        self.waiting = set()

    def counts(self):
        return {**self.engine.node_stats(), **self.engine.events_count()}

    def do(self, name, *records):
        """The task works through the records; the counters that moved, all others 0."""
        before = self.counts()
        self._feed(name, np.concatenate(records), False)
        self._until(name)
        self.engine.verify()
        return Moved(before, self.counts())

    def exit(self, name):
        """The task has no more records: it exits."""
        before = self.counts()
        self._feed(name, None, True)
        while self.engine.task(self.thread[name])["alive"]:
            reason, thread = self.engine.run()
            if reason == "done":
                break
            assert reason == "chunk", reason
            self._idle(thread)
        self.engine.verify()
        return Moved(before, self.counts())

    def task(self, name):
        return self.engine.task(self.thread[name])

    def free(self):
        """Free pages, those on per-CPU lists included."""
        return sum(z["free"] + sum(p["count"] for p in z["pcp"]) for z in self.engine.zones())

    def _feed(self, name, records, last):
        if self.thread[name] not in self.waiting:
            self._until(name)
        self.waiting.discard(self.thread[name])
        self.engine.feed(self.thread[name], records, last)

    def _until(self, name):
        while True:
            reason, thread = self.engine.run()
            assert reason in ("chunk", "limit"), f"{reason} of thread {thread}, page {self.engine.fault_page}"
            if thread == self.thread[name] and reason == "chunk":
                self.waiting.add(thread)
                return
            if reason == "chunk":
                self._idle(thread)

    def _idle(self, thread):
        self.waiting.discard(thread)
        self.engine.feed(thread, sleep(MS), False)


class Moved(dict):
    """Differences of counters by name; `only` names those that are not 0."""

    def __init__(self, before, after):
        super().__init__({name: after[name] - before[name] for name in after})

    def pick(self, *names):
        return {name: self[name] for name in names}


def finish(simulation, budget=1 << 20, verify=True):
    """Run a simulation to its end, checking every invariant of the engine on the way."""
    while simulation.step(budget):
        if verify:
            simulation.engine.verify()
    simulation.engine.verify()
    return simulation.result()
