"""The outer loop: builds an engine for a scenario, feeds it, answers it, and collects the result.

The engine runs without the interpreter lock and comes back for the next records, for a victim, or when its
budget of accesses is used up; so progress, Ctrl-C and policies live here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from memcore import engine as door
from pymem import oom, procfs, tunables
from pymem.codecs import get as get_codec
from pymem.content.tables import Table
from pymem.devices import SELECTIONS
from pymem.errors import ScenarioError, SimulationError
from pymem.mempolicy import MODES, MemPolicy
from pymem.numa import demotion_targets, tiers
from pymem.provenance import provenance
from pymem.regions import Anon
from pymem.result import Latency, OomKill, Result, TaskResult, Timeline, bucket_edges
from pymem.topology import FILESYSTEMS, ZONE_NAMES
from pymem.units import parse_pages, parse_time
from pymem.workloads.ahead import Ahead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pymem.devices import SwapDevice
    from pymem.regions import Region
    from pymem.scenario import Scenario, Task

BUDGET = 1 << 20  # accesses between two looks at progress and signals: a fraction of a second
FIRST_PID = 1000
THREAD_STACK_PAGES = 5  # 16 KiB of kernel stack and the task struct

VM_FILE, VM_SHARED, VM_WRITE, VM_LOCKED, VM_SEQ_READ, VM_RAND_READ, VM_EXEC = (1 << i for i in range(7))


@dataclass(frozen=True)
class Progress:
    """What a progress function is told; `total` accesses is 0 where it is not known beforehand."""

    accesses: int
    total: int
    time_ns: int
    free_pages: int
    host_seconds: float


ProgressFn = Callable[[Progress], None]


def region_flags(region: Region) -> int:
    """The VMA flags of a region."""
    locked = VM_LOCKED if region.locked else 0
    if isinstance(region, Anon):
        return VM_WRITE | locked
    advice = {"normal": 0, "sequential": VM_SEQ_READ, "random": VM_RAND_READ}[region.advice]
    return (
        VM_FILE | locked | advice | (VM_SHARED if region.shared else 0) | (VM_WRITE if region.writable else 0)
        | (VM_EXEC if region.executable else 0)
    )  # fmt: skip


def build(scenario: Scenario) -> tuple[door.Engine, dict[int, Task]]:
    """The engine of a scenario, not started, and its tasks by thread number."""
    machine = scenario.machine
    layout = machine.layout()
    total = sum(zone.managed for zones in layout for zone in zones)
    params = dict(tunables.engine_params(tunables.resolve(scenario.vm, scenario.kernel), scenario.kernel, total))
    params.update(scenario.cost_ns())
    params.update(
        machine.slab(), thread_stack_pages=THREAD_STACK_PAGES,
        ramfs_pages=parse_pages(machine.boot.ramfs, "machine.boot.ramfs"),
        ramfs_mapped=parse_pages(machine.boot.ramfs_mapped, "machine.boot.ramfs_mapped"),
        buffer_heads=int(FILESYSTEMS[machine.filesystem]),
    )  # fmt: skip
    nodes, cpu_nodes = _nodes(scenario, layout)
    files: dict[str, int] = {}
    for task in scenario.tasks:
        for region in task.workload.regions:
            if not isinstance(region, Anon):
                files[region.name] = max(files.get(region.name, 0), region.offset + region.pages)
    number = {name: i + 1 for i, name in enumerate(files)}
    devices = [device.disk.figures() for device in machine.swap] + [machine.disk.figures()]
    compression = _Compression(scenario)
    swaps = [
        {
            "slots": device.slots, "priority": device.priority, "device": i,
            "rotational": device.disk.figures()["rotational"], "zram": compression.zram(device, devices),
        }
        for i, device in enumerate(machine.swap)
    ]  # fmt: skip
    placed = compression.placements()
    policies = _policies(scenario)
    engine = door.Engine(
        params=params, nodes=nodes, cpu_nodes=cpu_nodes, devices=devices, swaps=swaps,
        files=[{"pages": pages, "device": len(machine.swap)} for pages in files.values()],
        policies=[_policy(scenario, policy) for policy in policies],
        contents=compression.table.arrays(), zswap=compression.zswap(),
        sample_interval=int(scenario.sample_interval), time_limit=int(scenario.time_limit or 0), seed=scenario.seed,
    )  # fmt: skip
    per_node = [node["cpus"] for node in nodes]
    tasks = {}
    for index, task in enumerate(scenario.tasks):
        regions = [
            {
                "pages": r.pages, "flags": region_flags(r), "policy": policies[r.policy] if r.policy else -1,
                **({"file": 0, "pgoff": 0, "content": placed.get((index, k))} if isinstance(r, Anon)
                   else {"file": number[r.name], "pgoff": r.offset}),
            }
            for k, r in enumerate(task.workload.regions)
        ]  # fmt: skip
        thread = engine.add_task(
            regions=regions, start=task.start_ns, stop=task.stop_ns, oom_score_adj=task.oom_score_adj,
            nice=task.nice, affinity=task.cpus(per_node), pid=FIRST_PID + index,
            policy=policies[task.policy] if task.policy else -1,
        )  # fmt: skip
        tasks[thread] = task
    return engine, tasks


class _Compression:
    """What the engine is told about compressed memory and about contents."""

    def __init__(self, scenario: Scenario, ahead: bool = True) -> None:
        self.scenario = scenario
        resolved = tunables.resolve(scenario.vm, scenario.kernel)
        self.compressor = None
        if resolved["zswap.enabled"]:
            name = next(n for n, i in tunables.COMPRESSORS.items() if i == resolved["zswap.compressor"])
            self.compressor = "zlib" if name == "deflate" else name
        named = [self.compressor]
        for device in scenario.machine.swap:
            if device.compression:
                named += [device.compression.codec, device.compression.recompress]
        self.table = Table(list(dict.fromkeys(name for name in named if name)))

    def _times(self, codec: str | None) -> tuple[int, int]:
        """Simulated ns to compress and to decompress a page: the scenario's costs before the codec's own."""
        cost = get_codec(codec or "lz4").cost
        given = {name.removeprefix("c_") for name in self.scenario.costs}
        costs = self.scenario.cost_ns()
        return (
            costs["c_compress"] if "compress" in given else cost.compress_ns,
            costs["c_decompress"] if "decompress" in given else cost.decompress_ns,
        )

    def zswap(self) -> dict[str, int] | None:
        """The compressor of zswap; None: off."""
        if self.compressor is None:
            return None
        compress, decompress = self._times(self.compressor)
        return {
            "codec": self.table.codecs.index(self.compressor), "compress_ns": compress, "decompress_ns": decompress,
        }  # fmt: skip

    def zram(self, device: SwapDevice, devices: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Settings of a compressed swap device, see zram.pxd; its backing device is added to `devices`."""
        c = device.compression
        if c is None:
            return None
        times = [self._times(c.codec), self._times(c.recompress)]
        if c.backing is not None:
            devices.append(c.backing.figures())
        return {
            "store": device.kind == "store", "codec": self.table.codecs.index(c.codec),
            "second": self.table.codecs.index(c.recompress) if c.recompress else -1,
            "compress_ns": [t[0] for t in times], "decompress_ns": [t[1] for t in times],
            "limit_pages": device.mem_limit_pages, "backing": len(devices) - 1 if c.backing is not None else -1,
            "writeback": SELECTIONS[c.writeback_what] if c.backing is not None else 0,
            "recompress": SELECTIONS[c.recompress_what] if c.recompress else 0,
            "idle_after": parse_time(c.idle_after) // 1_000_000_000, "period": parse_time(c.period),
        }  # fmt: skip

    def placements(self) -> dict[tuple[int, int], tuple[int, int, int, bool]]:
        """(seed, first row, rows, changes) by task and region; empty where contents change nothing.

        They matter as soon as something compresses, or a content is given: zero pages are not swapped out.
        """
        out = {}
        given = bool(self.table.codecs) or any(
            task.content is not None or any(getattr(r, "content", None) is not None for r in task.workload.regions)
            for task in self.scenario.tasks
        )
        for index, task in enumerate(self.scenario.tasks if given else ()):
            for k, region in enumerate(task.workload.regions):
                if isinstance(region, Anon):
                    spec = task.content if region.content is None else region.content
                    words = np.random.SeedSequence([self.scenario.seed, index, k]).generate_state(1, np.uint64)
                    out[index, k] = (int(words[0]), *self.table.place(spec))
        return out


def _nodes(scenario: Scenario, layout: list[list[Any]]) -> tuple[list[dict[str, Any]], list[int]]:
    """Nodes and the node of every CPU, as the engine wants them."""
    machine = scenario.machine
    n = len(layout)
    given, distances = machine.all_nodes, machine.all_distances
    own = [parse_time(node.access, "machine.nodes.access") for node in given]
    # Remote memory costs in proportion to the firmware's distance, 10 being local.
    access = [[own[j] * distances[i][j] // 10 for j in range(n)] for i in range(n)]
    pages = [sum(zone.managed for zone in zones) for zones in layout]
    tier = tiers(access, [node.cpus for node in given], pages)
    tier = [t if node.tier is None else node.tier for t, node in zip(tier, given, strict=True)]
    demotion = demotion_targets(tier, distances, pages)
    nodes: list[dict[str, Any]] = []
    for i, zones in enumerate(layout):
        nodes.append({
            "cpus": given[i].cpus, "distance": list(distances[i]), "access_ns": access[i], "tier": tier[i],
            "demotion": demotion[i],
            "zones": [
                {
                    "idx": ZONE_NAMES.index(z.name), "start_pfn": z.start_pfn, "spanned": z.spanned,
                    "present": z.present, "managed": z.managed, "free": z.free,
                    "percpu": z.percpu, "metadata": z.metadata, "kernel_blocks": z.kernel_blocks,
                    "watermarks": z.watermarks, "protection": z.protection,
                }
                for z in zones
            ],
        })  # fmt: skip
    return nodes, [i for i, node in enumerate(given) for _ in range(node.cpus)]


def _policies(scenario: Scenario) -> dict[MemPolicy, int]:
    """Number of every memory policy that a task or a region has."""
    used = [p for task in scenario.tasks for p in (task.policy, *(r.policy for r in task.workload.regions)) if p]
    return {policy: number for number, policy in enumerate(dict.fromkeys(used))}


def _policy(scenario: Scenario, policy: MemPolicy) -> dict[str, Any]:
    """As the engine wants it."""
    weights = scenario.machine.interleave_weights or (1,) * len(scenario.machine.all_nodes)
    return {
        "mode": MODES[policy.mode], "nodes": list(policy.nodes),
        "weights": [weights[node] if policy.mode == "weighted-interleave" else 1 for node in policy.nodes],
    }  # fmt: skip


class Simulation:
    """A run in steps; `simulate` is what most people want.

    Parameters
    ----------
    scenario : Scenario
    ahead : bool
        Records of generated and of packed workloads are made in a second thread of the host, if it has a CPU to spare.
        Results are the same; with as many simulations at once as there are CPUs it gains nothing.

    Attributes
    ----------
    engine : memcore.engine.Engine
    tasks : dict of Task
        By thread number of the engine.
    status : str
        ``"running"`` until the run is over.
    """

    def __init__(self, scenario: Scenario, ahead: bool = True) -> None:
        self.scenario = scenario
        try:
            self.engine, self.tasks = build(scenario)
        except (ValueError, MemoryError) as error:
            if isinstance(error, ScenarioError):
                raise
            raise ScenarioError(f"the machine cannot be built: {error}") from None
        seeds = np.random.SeedSequence(scenario.seed).generate_state(len(self.tasks), np.uint64)
        self._streams: dict[int, Iterator[NDArray[Any]]] = {
            thread: iter(task.workload.chunks(int(seed)))
            for (thread, task), seed in zip(self.tasks.items(), seeds, strict=True)
        }
        costly = [thread for thread, task in self.tasks.items() if task.workload.ahead]
        self._chunks = Ahead(self._streams, costly if ahead else ())
        self.oom_kills: list[OomKill] = []
        self._killed: dict[str, tuple[str, int]] = {}  # by whom, and oom_score then
        self.policy = scenario.policy()
        self.daemon = self.policy if isinstance(self.policy, oom.Daemon) else None
        self._vm = tunables.resolve(scenario.vm, scenario.kernel)
        self._names = np.array(["", *(task.name for task in self.tasks.values())], dtype=object)
        self._nice = np.array([0, *(task.nice for task in self.tasks.values())], np.int64)
        self._thread = {FIRST_PID + index: thread for index, thread in enumerate(self.tasks)}
        self.status = "running"
        self.host_seconds = 0.0
        self.engine.start()
        if self.daemon is not None:
            self.engine.alarm(max(self.daemon.interval_ns(), 1))

    def step(self, budget: int = BUDGET) -> bool:
        """Run up to about `budget` accesses. False when the run is over.

        Raises
        ------
        SimulationError
            An access outside the regions of its task.
        """
        begin = time.perf_counter()
        reason, thread = self.engine.run(budget)
        if reason == "chunk":
            self._feed(thread)
        elif reason == "oom":
            self._out_of_memory(thread)
        elif reason == "alarm":
            self._alarm()
        elif reason == "fault":
            task = self.tasks[thread]
            raise SimulationError(
                f"task {task.name!r}: access to page {self.engine.fault_page}, which is in none of its regions "
                f"({sum(r.pages for r in task.workload.regions)} pages), or an operation that its region does not take"
            )
        elif reason in ("done", "time", "idle"):
            self.status = {"done": "complete", "time": "time limit", "idle": "stuck"}[reason]
        self.host_seconds += time.perf_counter() - begin
        return self.status == "running"

    def _feed(self, thread: int) -> None:
        records = self._chunks.next(thread)
        try:
            self.engine.feed(thread, records, records is None)
        except ValueError as error:
            raise SimulationError(f"task {self.tasks[thread].name!r}: {error}") from None

    def _facts(self, asking: int = 0, nodes: tuple[int, ...] = ()) -> oom.OomFacts:
        """Facts for a choice; `asking` is the thread that ran out, confined to `nodes` if there are any."""
        total, constraint = self.engine.total_pages, "CONSTRAINT_NONE"
        everywhere = {zone["node"] for zone in self.engine.zones()} if nodes else set()
        if not everywhere <= set(nodes):
            present = self.engine.nodes()
            total, constraint = sum(present[nid]["present"] for nid in nodes), "CONSTRAINT_MEMORY_POLICY"
        return oom.facts_from(
            self.engine.oom_facts(), self._names, self._nice, allocating=asking,
            total_pages=total + self.engine.swap()["total"], now_ns=self.engine.now, constraint=constraint,
            nodes=nodes if constraint != "CONSTRAINT_NONE" else (),
        )  # fmt: skip

    def _out_of_memory(self, thread: int) -> None:
        """Ask the policy; without anyone to kill the kernel panics."""
        facts = self._facts(thread, tuple(self.engine.oom_nodes))
        panic = self._vm["panic_on_oom"]
        if panic == 1 and facts.constraint != "CONSTRAINT_NONE":
            panic = 0  # only part of the machine has run out
        policy, by = self.policy, "kernel" if self.daemon else oom.name_of(self.policy)
        if self._vm["oom_kill_allocating_task"] and by == "kernel":
            policy = oom.KillAllocating()
        choice = None if panic else policy.choose(facts)
        if choice is not None and facts.dying is not None and facts.dying[choice]:
            return  # killed by a daemon and about to exit: its memory is worth waiting for
        task = self.tasks[thread]
        report = oom.oom_report(
            facts, choice, asker=(task.name, task.oom_score_adj), node_stats=self.engine.node_stats(),
            zones=self.engine.zones(), swap=self.engine.swap(), panic_on_oom=panic,
            by_allocating=isinstance(policy, oom.KillAllocating) and choice == facts.allocating,
        )  # fmt: skip
        self._record(facts, choice, policy.scores(facts), by=by, allocating=task.name, report=report)
        if choice is None:
            self.status = "panic"
        else:
            self.engine.kill(self._thread[int(facts.pid[choice])])

    def _alarm(self) -> None:
        """The daemon looks at the machine and says when it wants to look again."""
        assert self.daemon is not None
        facts = self._facts()
        system = oom.System(
            self.engine.now, self.meminfo(), self.vmstat(), self.engine.psi(), self.engine.zones()
        )
        kill = self.daemon.check(facts, system)
        if kill is not None:
            name, pid = facts.name[kill.victim], int(facts.pid[kill.victim])
            report = f"{self.daemon.name}: {kill.reason}: sent {kill.signal} to process {pid} ({name})\n"
            self._record(
                facts, kill.victim, kill.scores, by=self.daemon.name, signal=kill.signal, reason=kill.reason,
                report=report,
            )  # fmt: skip
            if facts.dying is None or not facts.dying[kill.victim]:
                self.engine.kill(self._thread[pid], oom=False)
        self.engine.alarm(self.engine.now + max(self.daemon.interval_ns(), 1))

    def _record(
        self, facts: oom.OomFacts, choice: int | None, scores: NDArray[np.float64], *, by: str, report: str,
        allocating: str = "", signal: str = "SIGKILL", reason: str = "",
    ) -> None:  # fmt: skip
        """Keep a decision and what it gives back."""
        freed = (0, 0)
        name = ""
        if choice is not None:
            name = str(facts.name[choice])
            freed = int(facts.rss_anon[choice] + facts.page_tables[choice]), int(facts.swapents[choice])
            self._killed.setdefault(name, (by, int(oom.oom_score(facts)[choice])))
        self.oom_kills.append(
            OomKill(
                facts.now_ns, name, allocating, dict(zip(facts.name.tolist(), scores.tolist(), strict=True)), report,
                by=by, signal=signal, reason=reason, freed_pages=freed[0], freed_swap=freed[1],
            )
        )  # fmt: skip

    def progress(self) -> Progress:
        """How far the run is."""
        lengths = [task.workload.length for task in self.tasks.values()]
        total = 0 if any(n is None for n in lengths) else sum(n for n in lengths if n is not None)
        done = sum(self.engine.task(t)["accesses"] for t in self.tasks)
        free = sum(zone["free"] for zone in self.engine.zones())
        return Progress(done, total, self.engine.now, free, self.host_seconds)

    def meminfo(self) -> dict[str, int]:
        """``/proc/meminfo`` now, in KiB."""
        e = self.engine
        reserve = sum(min(z["managed"], z["high"] + max(z["protection"])) for z in e.zones())
        return procfs.meminfo(
            e.node_stats(), e.zones(), e.swap(), total_pages=e.total_pages, reserve_pages=reserve
        )

    def vmstat(self) -> dict[str, int]:
        """``/proc/vmstat`` now."""
        e = self.engine
        return procfs.vmstat(
            e.events_count(), e.node_stats(), e.zones(), thresholds=e.thresholds(), kernel=self.scenario.kernel
        )

    def timeline(self, after: int = -1) -> Timeline:
        """The time line so far.

        Parameters
        ----------
        after : int
            Only rows later than this time in ns.
        """
        rows = self.engine.samples(after)
        return Timeline({c: rows[:, i].copy() for i, c in enumerate(door.SAMPLE_COLUMNS)})

    def nodes(self) -> list[dict[str, Any]]:
        """Every NUMA node now: what it is, and its ``numastat``, ``vmstat`` and ``meminfo``."""
        e = self.engine
        out = []
        for nid, facts in enumerate(e.nodes()):
            zones = [zone for zone in e.zones() if zone["node"] == nid]
            shown = ("cpus", "distance", "access_ns", "tier", "toptier", "demotion", "fallback")
            out.append({
                "node": nid, **{name: facts[name] for name in shown}, "numastat": procfs.numastat(zones),
                "vmstat": procfs.node_vmstat(e.node_stats(nid), zones),
                "meminfo": procfs.node_meminfo(e.node_stats(nid), zones, facts["managed"]),
            })  # fmt: skip
        return out

    def result(self) -> Result:
        """What has come out so far."""
        e = self.engine
        e.sample()
        events, dropped = e.event_log()
        if self.status == "running":
            self.status = "interrupted"
        return Result(
            name=self.scenario.name, status=self.status, time_ns=e.now, vmstat=self.vmstat(),
            meminfo=self.meminfo(), zones=e.zones(), psi=e.psi(),
            tasks=self._task_results(),
            timeline=self.timeline(),
            events=events, event_kinds=list(door.EVENT_KINDS), events_dropped=dropped, oom_kills=self.oom_kills,
            devices=e.devices(), swap=e.swap(), nodes=self.nodes(), provenance=provenance(self.scenario),
            host_seconds=self.host_seconds,
        )  # fmt: skip

    def _task_results(self) -> dict[str, TaskResult]:
        facts = self._facts()
        score = dict(zip(facts.name.tolist(), oom.oom_score(facts).tolist(), strict=True))
        return {task.name: self._task(thread, task, score.get(task.name, 0)) for thread, task in self.tasks.items()}

    def _task(self, thread: int, task: Task, score: int) -> TaskResult:
        facts = self.engine.task(thread)
        counts, sums, _ = self.engine.latency(thread)
        edges = bucket_edges(counts.shape[1])
        latency = {kind: Latency(counts[i], edges, int(sums[i])) for i, kind in enumerate(door.LATENCY_KINDS) if i}
        kept = ("pid", "accesses", "writes", "min_flt", "maj_flt", "cpu_ns", "start_ns", "oom_score_adj", "rss_anon",
                "rss_file", "swapents", "page_tables", "hiwater_rss", "local", "remote", "local_ns", "remote_ns",
                "stalls")  # fmt: skip
        killed_by, score = self._killed.get(task.name, ("", score))
        return TaskResult(
            name=task.name, latency=latency, oom_killed=facts["oom_killed"], killed_by=killed_by, oom_score=score,
            end_ns=None if facts["alive"] else facts["end_ns"], **{name: facts[name] for name in kept},
        )  # fmt: skip


def simulate(
    scenario: Scenario, progress: bool | ProgressFn = False, on_interrupt: str = "raise"
) -> Result:
    """Simulate a scenario to its end.

    Parameters
    ----------
    scenario : Scenario
    progress : bool or function
        True shows a bar; a function is called with a `Progress` several times a second.
    on_interrupt : {"raise", "partial"}
        After Ctrl-C: raise KeyboardInterrupt, or return what there is, with status ``"interrupted"``.

    Raises
    ------
    ScenarioError, SimulationError
    """
    if on_interrupt not in ("raise", "partial"):
        raise ValueError(f"on_interrupt {on_interrupt!r}; accepted are 'raise' and 'partial'")
    run = Simulation(scenario)
    tell, close = _teller(progress)
    shown = 0.0
    try:
        while run.step():
            if tell is not None and run.host_seconds - shown > 0.1:
                shown = run.host_seconds
                tell(run.progress())
    except KeyboardInterrupt:
        if on_interrupt == "raise":
            raise
    finally:
        close()
    return run.result()


def _teller(progress: bool | ProgressFn) -> tuple[ProgressFn | None, Callable[[], None]]:
    """The function to tell, and what closes the display."""
    if progress is False:
        return None, lambda: None
    if progress is not True:
        return progress, lambda: None
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from pymem.units import format_pages, format_time

    bar = Bar(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=Console(stderr=True),
        transient=True,
    )  # fmt: skip
    row = bar.add_task("starting", total=None)
    bar.start()

    def show(p: Progress) -> None:
        rate = p.accesses / p.host_seconds / 1e6 if p.host_seconds else 0.0
        text = f"{format_time(p.time_ns)} simulated, {rate:.1f} M accesses/s, {format_pages(p.free_pages)} free"
        bar.update(row, description=text, completed=p.accesses, total=p.total or None)

    return show, bar.stop
