"""From a recording to the scenario that does the same.

Everything comes from the recording: zones with what was free before the first access, slab, tunables, regions
and accesses.  How fast the recorded machine was is measured on it too: the CPU by its first faults, the disks by
their own statistics.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pymem.codecs import get as get_codec
from pymem.devices import Disk, SwapDevice
from pymem.errors import ValidationError
from pymem.records import WRITE, Op, pack
from pymem.regions import Anon, File, Region
from pymem.scenario import Scenario, Task
from pymem.topology import PAGEBLOCK, Boot, Machine, Node, Zone
from pymem.tunables import COSTS, TUNABLES
from pymem.validation.generator import Spec, generate, parse_spec
from pymem.workloads.base import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pymem.validation.recording import Recording

#: How much slower than the cost model an emulated CPU is, where a recording does not show it.
SLOWNESS = 20.0
#: An emulated CPU is not slow at everything alike.  Recorded streams with and without fault-around differ by 30 faults
#: in 32 pages read, which take 4 to 5 us each, where writing to a fresh anonymous page takes 19: a fifth of the model.
#: Recorded runs in which kswapd walks the lists once and does nothing else stall for 26 to 55 ms, with 3,581 pages seen
#: and 29,000 passed over: 4 to 12 us for each that is mapped, where with the model's 12.7 it is 84 to 138 ms.
EMULATED = {"c_file_minor_fault": 0.2, "c_reclaim_scan": 0.33}
#: Latency of an emulated disk where a recording does not show it.
DISK_NS = 200_000
TURN_NS = 10_000_000
#: Free pages of page blocks of unmovable and of reclaimable memory, by kernel and whether there are two nodes.  No
#: recording shows them; this is what kernels of these versions that were booted on such machines had when a program
#: like the recorded ones began (``/proc/pagetypeinfo``; 6.1: 474 to 596 and 570 to 602 pages, with two nodes 604 to 963
#: and 692 to 915 on each; 6.12: 59 to 984 and 665 to 830).
KERNEL_BLOCKS: dict[tuple[str, bool], dict[str, Any]] = {
    ("6.1", False): {"unmovable": (256, 128, 64, 26), "reclaimable": (512, 64, 26)},
    ("6.1", True): {"unmovable": (512, 257, 128, 64), "reclaimable": (512, 128, 80)},
    ("6.12", False): {"unmovable": (256, 128, 64, 32), "reclaimable": (512, 256, 27)},
}
MAX_TURNS = 20_000
#: Contents that recordings call otherwise: their zero pages begin with 64 random bytes.
CONTENTS = {"zero": "zero64"}


@dataclass(frozen=True, eq=False)
class Watched(Workload):
    """Records in pieces, with a call before each and after the last: the counters at exactly that access."""

    kind: ClassVar[str] = "watched"
    regions: tuple[Region, ...]
    records: NDArray[Any]
    stops: tuple[int, ...]
    at: Callable[[int], None]

    @property
    def length(self) -> int:
        """Accesses."""
        return len(self.records)

    def chunks(self, seed: int) -> Iterator[NDArray[Any]]:
        """The records; see `Workload.chunks`."""
        edges = [0, *self.stops, len(self.records)]
        for first, last in pairwise(edges):
            self.at(first)
            if first < last:
                yield self.records[first:last]
        self.at(len(self.records))


@dataclass(frozen=True, eq=False)
class Growing(Workload):
    """A child of an OOM run: `step` pages written, then it waits for its next turn."""

    kind: ClassVar[str] = "growing"
    pages: int
    step: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", (Anon(pages=self.pages),))

    @property
    def length(self) -> int:
        """Pages."""
        return self.pages

    def chunks(self, seed: int) -> Iterator[NDArray[Any]]:
        """The records; see `Workload.chunks`."""
        wait = pack(TURN_NS, Op.SLEEP)
        for first in range(0, self.pages, self.step):
            stores = pack(np.arange(first, min(first + self.step, self.pages)), Op.STORE)
            yield np.append(stores, wait)
        yield pack(np.full(64, (1 << 40) - 1), Op.SLEEP)  # a child that has all its pages stays


_ZONE = ("start_pfn", "spanned", "present", "managed", "free")
#: Where the pages are that a program can get, and what it costs the kernel to give them.
_PAGES = (
    "nr_free_pages", "nr_active_anon", "nr_inactive_anon", "nr_active_file", "nr_inactive_file", "nr_unevictable",
    "nr_page_table_pages", "nr_slab_reclaimable", "nr_slab_unreclaimable", "nr_zspages",
)  # fmt: skip


def hidden_pages(recording: Recording) -> int:
    """Pages that the recorded machine had at the start although no counter showed them.

    MemFree leaves out the per-CPU lists, which are full after a boot and empty under pressure, most of all in 6.12.
    Pages are conserved, so what the counters gain in sum during the run came out of there.
    """
    series = recording.data.get("series", {})
    columns = [series[name] for name in _PAGES if name in series]
    totals = [sum(row) for row in zip(*columns, strict=True)]
    return max(totals) - totals[0] if totals else 0


def unmovable_start(zone: dict[str, Any]) -> int:
    """Free pages in the first page block of a zone that begins in the middle of it, as zone DMA does with page 1.

    At boot a kernel calls a page block movable when it comes to its first page: such a block stays unmovable.
    """
    end = zone["start_pfn"] + zone["spanned"]
    block_end = -(-zone["start_pfn"] // PAGEBLOCK) * PAGEBLOCK
    return max(block_end - max(end - zone["free"], zone["start_pfn"]), 0) if zone["start_pfn"] < block_end else 0


def machine(recording: Recording) -> Machine:
    """The machine of a recording."""
    nodes: dict[int, list[Zone]] = {}
    # The protection is not taken over: the recorder's own look at lowmem_reserve_ratio made the kernel compute it
    # again, from the memory that there is now, as a machine without recorded protection does.
    two = len({z["node"] for z in recording.data["zoneinfo_start"]}) > 1
    for z in recording.data["zoneinfo_start"]:
        pages: dict[str, Any] = {key: int(z[key]) for key in _ZONE}
        marks = (int(z["min"]), int(z["low"]), int(z["high"]))
        start = unmovable_start(pages)
        known = KERNEL_BLOCKS.get((recording.kernel, two), KERNEL_BLOCKS[recording.kernel, False])
        blocks = {"unmovable": start} if start else known
        nodes.setdefault(int(z["node"]), []).append(Zone(z["zone"], **pages, watermarks=marks, **blocks))
    hidden = hidden_pages(recording) // len(nodes)
    for nid, zones in nodes.items():
        largest = max(range(len(zones)), key=lambda i: zones[i].managed)
        zone = zones[largest]
        # What is on the active file list after mounting and preparing the file is the file system's own.
        found = recording.data.get("nodes_start", {}).get(f"{nid}/vmstat", {})
        metadata = int(found.get("nr_active_file", 0))
        listed = min(hidden, zone.managed - zone.free - metadata)
        zones[largest] = replace(zone, percpu=listed, metadata=metadata)
    cpus = int(recording.data.get("cpus") or recording.config.get("smp", 1))
    shares = [len(part) for part in np.array_split(np.arange(cpus), len(nodes))]
    # Slab of node 0: what arms node reclaim there, and all there is on a machine of one node.
    v = recording.data.get("nodes_start", {}).get("0/vmstat") or recording.data["vmstat_start"]
    ramfs = max(int(v.get("nr_file_pages", 0)) - int(v["nr_active_file"]) - int(v["nr_inactive_file"]), 0)
    return Machine(
        nodes=tuple(Node(zones=tuple(zones), cpus=n) for zones, n in zip(nodes.values(), shares, strict=True)),
        swap=_swap(recording),
        disk=_disk(recording, "vdb"),
        boot=Boot(
            kernel=0, slab_reclaimable=int(v.get("nr_slab_reclaimable", 0)) * 4096, slab_freeable=0,
            slab_unreclaimable=int(v.get("nr_slab_unreclaimable", 0)) * 4096,
            ramfs=ramfs * 4096, ramfs_mapped=min(int(v.get("nr_mapped", 0)), ramfs) * 4096,
        ),
    )  # fmt: skip


def _swap(recording: Recording) -> tuple[SwapDevice, ...]:
    kind = str(recording.config.get("swap", "none"))
    if kind == "none":
        return ()
    size = f"{recording.config.get('swap_mb', 1024)}MiB"
    if kind.startswith("zram"):  # zram:BYTES:CODEC
        return (SwapDevice(int(kind.split(":")[1]), "zram", codec=recording.compressor),)
    disk = _disk(recording, "vda")
    rotational = recording.data["params"].get("/sys/block/vda/queue/rotational", "0").strip() == "1"
    return (SwapDevice(size, disk.kind, rotational=rotational, **_figures(disk)),)


def _figures(disk: Disk) -> dict[str, Any]:
    return {"read": disk.read, "write": disk.write, "queue_depth": disk.queue_depth, "bandwidth": disk.bandwidth}


def _disk(recording: Recording, device: str) -> Disk:
    """An emulated disk: the latency that its reads had, and the limit on requests if it had one."""
    found = recording.disk(device)
    read, depth = DISK_NS, 32
    if found is not None and found["reads"] >= 1000:
        read = max(found["read_ms"] * 1_000_000 // found["reads"], 20_000)
    iops = int(recording.config.get("iops") or 0)
    if iops:  # requests per second, however long they are
        read, depth = 1_000_000_000 // iops, 1
    elif device == "vdb" and found is not None and found["writes"] >= 1000:
        # Flushers keep the queue full: what the disk is busy without a read is the time it takes for their writes.
        each = (found["busy_ms"] - found["read_ms"]) * 1_000_000 // found["writes"]
        depth = min(max(round(read / max(each, 1)), 1), depth)
    return Disk("nvme", read=read, write=read, queue_depth=depth, bandwidth=2_000_000_000)


def slowness(recording: Recording) -> dict[str, float]:
    """How many times longer the emulated CPU takes than the cost model says, for every cost.

    Measured on the first accesses of the recording, where nothing but the CPU counts: faults on untouched anonymous
    memory speak for all costs (but see `EMULATED`), calls of ``write()`` for theirs only.
    """
    return {name: factor * EMULATED.get(name, 1.0) for name, factor in _measured(recording).items()}


def _measured(recording: Recording) -> dict[str, float]:
    factors = {name: SLOWNESS for name in COSTS if not name.startswith("sched")}
    spec = parse_spec(recording.config["spec"]) if recording.mode == "run" else None
    series = recording.data.get("series", {})
    if spec is None or len(series.get("t", ())) < 3 or series["access"][1] > spec.phases[0].n:
        return factors
    per_access = (series["t"][1] - series["t"][0]) / (series["access"][1] - series["access"][0]) * 1e9
    first = spec.phases[0].streams[0]
    kind = spec.regions[first.region].kind
    if kind == "anon" and first.pattern == "seq":
        return dict.fromkeys(factors, max(per_access / COSTS["c_anon_fault"].default, 1.0))
    if kind == "fread" and first.writes >= 1 and len(spec.phases[0].streams) == 1:
        names = ("c_syscall", "c_page_copy", "c_page_cache_add")
        measured = max(per_access / sum(COSTS[name].default for name in names), 1.0)
        return {**factors, **dict.fromkeys(names, measured)}
    return factors


def tunables(recording: Recording) -> dict[str, Any]:
    """Every tunable of the recording that is simulated."""
    out: dict[str, Any] = {}
    for name, value in recording.data["sysctl_vm"].items():
        if name in TUNABLES:
            out[name] = value
        elif name == "lowmem_reserve_ratio":
            out[name] = " ".join(value.split())
    params = recording.data["params"]
    for path, name in (
        ("/sys/kernel/mm/transparent_hugepage/enabled", "transparent_hugepage"),
        ("/sys/kernel/mm/swap/vma_ra_enabled", "swap.vma_ra_enabled"),
        ("/sys/kernel/debug/fault_around_bytes", "fault_around_bytes"),
        ("/sys/block/vdb/queue/read_ahead_kb", "read_ahead_kb"),
    ):
        if path in params:
            out[name] = params[path]
    out |= {f"zswap.{name}": value for name, value in recording.zswap.items() if f"zswap.{name}" in TUNABLES}
    for stem in ("dirty", "dirty_background"):  # one of each pair is 0 in a kernel
        ratio, size = f"{stem}_ratio", f"{stem}_bytes"
        if ratio in out and size in out:
            del out[ratio if str(out[ratio]) == "0" else size]
    return out


def regions(spec: Spec) -> tuple[Region, ...]:
    """The regions of the replaying program; all its file regions show the same file."""
    out: list[Region] = []
    for i, r in enumerate(spec.regions):
        if r.kind == "anon":
            out.append(Anon(pages=r.pages, name=f"anon{i}", content=CONTENTS.get(r.content, r.content or None)))
        else:
            advice = "random" if r.advice == "random" else "normal"
            out.append(File(pages=r.pages, name="data", advice=advice))
    return tuple(out)


def records(spec: Spec, words: NDArray[np.uint32]) -> NDArray[Any]:
    """The accesses as records: those of regions of kind fread become ``read()`` and ``write()``."""
    calls = np.array([r.kind == "fread" for r in spec.regions])
    if not calls.any():
        return words
    ends = np.cumsum([r.pages for r in spec.regions])
    page = (words & ~WRITE).astype(np.int64)
    write = words & WRITE != 0
    called = calls[np.searchsorted(ends, page, side="right")]
    op = np.where(called, np.where(write, int(Op.WRITE), int(Op.READ)), np.where(write, int(Op.STORE), int(Op.LOAD)))
    return pack(page, op)


def scenario(recording: Recording, at: Callable[[int], None], pace: float = 1.0) -> Scenario:
    """The scenario of a recording; `at` is called at the checkpoints of its series and after the last access.

    `pace` multiplies the time that the emulated CPU takes for everything: what hangs on chance differs with it.
    """
    factors = {name: factor * pace for name, factor in slowness(recording).items()}
    costs = {name: cost.default for name, cost in COSTS.items()}
    if recording.compressor:
        codec = get_codec(recording.compressor).cost
        costs |= {"c_compress": codec.compress_ns, "c_decompress": codec.decompress_ns}
    common: dict[str, Any] = {
        "name": recording.label, "machine": machine(recording), "kernel": recording.kernel,
        "vm": tunables(recording), "seed": recording.seed, "sample_interval": 0,
        "costs": {
            name: int(costs[name] * factor) for name, factor in factors.items()
        },
    }  # fmt: skip
    if recording.mode == "oom":
        # Long after every child has touched all its pages or was killed.
        return Scenario(tasks=_children(recording), time_limit=MAX_TURNS * TURN_NS, **common)
    spec = parse_spec(recording.config["spec"])
    words = generate(recording.config["spec"], recording.seed)
    stops = sorted({int(a) for a in recording.data.get("series", {}).get("access", ()) if 0 < a < len(words)})
    work = Watched(regions(spec), records(spec, words), tuple(stops), at)
    cpu = [part.split("=")[1] for part in str(recording.config.get("opt", "")).split(",") if part.startswith("cpu=")]
    return Scenario(tasks=[Task("replay", work, affinity=tuple(map(int, cpu)) or None)], **common)


def _children(recording: Recording) -> list[Task]:
    tasks = []
    for i, part in enumerate(recording.config["spec"].split(";")):
        word, *pairs = part.split(",")
        try:
            kv = {key: int(value) for key, value in (pair.split("=") for pair in pairs)}
            if word != "proc":
                raise ValueError(f"unknown word {word!r}; accepted is proc")
            tasks.append(Task(f"child{i}", Growing(kv["pages"], kv["step"]), oom_score_adj=kv["adj"], start=i * 1000))
        except (KeyError, ValueError) as error:
            raise ValidationError(f"{recording.path}: spec {part!r}: {error}") from None
    return tasks
