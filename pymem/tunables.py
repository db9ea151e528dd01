"""Every knob of the simulated kernel: name, unit, default, bounds, meaning; and the cost model.

Knobs under ``/proc/sys/vm`` go by their sysctl name (``swappiness``, with or without ``vm.``). Those under
``/sys`` go by the end of their path. Only knobs that the engine obeys are listed: anything else is refused,
because a setting without effect would be taken for a result.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pymem import units
from pymem.errors import TunableError, UnitError

KERNELS = {"6.1": 601, "6.12": 612}
INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1
KIB_PER_PAGE = units.PAGE_SIZE // 1024
PAGES_PER_MIB = 256
CENTISECOND = 10_000_000
MILLISECOND = 1_000_000

BOOLEAN = {"0": 0, "1": 1, "n": 0, "y": 1, "false": 0, "true": 1}
AUTO = {"auto": -1}
HUGE_PAGES = {"never": 0, "madvise": 1, "always": 2}
ZPOOLS = {"auto": -1, "zsmalloc": 0, "zbud": 1}
COMPRESSORS = {"lzo": 0, "lzo-rle": 1, "lz4": 2, "zstd": 3, "deflate": 4}
# Settings that one of the kernels does not have.
ONLY_IN = {
    "zswap.same_filled_pages_enabled": "6.1",
    "zswap.non_same_filled_pages_enabled": "6.1",
    "zswap.shrinker_enabled": "6.12",
}


@dataclass(frozen=True)
class Tunable:
    """One knob.

    Attributes
    ----------
    name : str
        Sysctl name without ``vm.``, or the end of the path under ``/sys``.
    unit : str
        What the number counts; ``bytes`` and ``KiB`` may be given as sizes (``"64KiB"``).
    default : int
        The same in kernels 6.1 and 6.12.
    minimum, maximum : int
        Accepted values, both included.
    meaning : str
    interactions : str
        Which other settings change what this one does.
    words : mapping
        Words that stand for numbers.
    """

    name: str
    unit: str
    default: int
    minimum: int
    maximum: int
    meaning: str
    interactions: str = ""
    words: Mapping[str, int] = field(default_factory=dict)

    @property
    def accepted(self) -> str:
        """The accepted values, for people."""
        words = "".join(f" or {word!r}" for word in self.words if not word.isdigit())
        return f"a whole number from {self.minimum} to {self.maximum}{words}"


_ALL = [
    # Watermarks, reserves and per-CPU lists.
    Tunable("min_free_kbytes", "KiB", -1, -1, INT_MAX,
            "Reserve that the min watermarks of all zones add up to. -1 or 'auto': 4 * sqrt(lowmem in KiB), between "
            "128 and 262144, or what huge pages ask for if that is more.",
            "transparent_hugepage raises the automatic value. low and high are derived from min.", AUTO),
    Tunable("watermark_scale_factor", "1/10000 of the zone", 10, 1, 3000,
            "Distance between the min, low and high watermarks, at least a quarter of min: how early kswapd wakes "
            "up and how much it frees.", "min_free_kbytes: the larger distance counts."),
    Tunable("watermark_boost_factor", "1/10000 of the high watermark", 15000, 0, INT_MAX,
            "Limit of the temporary rise of the watermarks after blocks of one mobility were taken by another. 0: off.",
            "Happens in zones for which the machine says that blocks are of another mobility (foreign)."),
    Tunable("lowmem_reserve_ratio.dma", "divisor", 256, 0, INT_MAX,
            "Zone DMA keeps 1/ratio of the zones above it from requests that could use those. 0: no reserve.",
            "Also given as lowmem_reserve_ratio = '256 256 32'."),
    Tunable("lowmem_reserve_ratio.dma32", "divisor", 256, 0, INT_MAX, "The same of zone DMA32."),
    Tunable("lowmem_reserve_ratio.normal", "divisor", 32, 0, INT_MAX, "The same of zone Normal towards Movable."),
    Tunable("percpu_pagelist_high_fraction", "divisor", 0, 0, INT_MAX,
            "Per-CPU free lists hold up to 1/fraction of a zone, divided among its CPUs; 0 sizes them by the low "
            "watermark. 0, or 8 and more.", "At 0 follows the watermarks."),
    Tunable("transparent_hugepage", "mode", 1, 0, 2,
            "never, madvise or always. Huge pages are not simulated: other than never only raises min_free_kbytes.",
            "min_free_kbytes, where that is automatic.", HUGE_PAGES),
    # Reclaim and swap.
    Tunable("swappiness", "relative cost", 60, 0, 200,
            "How cheap swapping is compared with dropping page cache: 100 is equal cost, 0 avoids swap until "
            "the file lists are nearly empty.", "Without free swap anonymous memory is not scanned at all."),
    Tunable("page-cluster", "log2 of pages", 3, 0, 31,
            "Most pages that swap-in reads ahead: 2**n, at most 32. 0: none.", "swap.vma_ra_enabled says which pages."),
    Tunable("swap.vma_ra_enabled", "switch", 1, 0, 1,
            "Swap-in reads ahead by neighbourhood in the address space (1) or on the device (0).",
            "Any rotational swap device turns it off; page-cluster is the limit of both.", BOOLEAN),
    Tunable("lru_batch", "pages", 31, 1, 31,
            "New pages that a CPU gathers before other CPUs see them on an LRU list; in 6.1 at most 15.",
            "Fixed in Linux; a machine of a few pages needs 1."),
    Tunable("vfs_cache_pressure", "percent", 100, 0, INT_MAX,
            "How eagerly inodes and dentries are reclaimed, relative to page cache. 0: never."),
    Tunable("zone_reclaim_mode", "bits", 0, 0, 7,
            "Reclaim from a node before allocating on another: 1 on, 2 may write pages, 4 may unmap pages.",
            "min_unmapped_ratio and min_slab_ratio say when it is worth while."),
    Tunable("compaction_proactiveness", "percent", 20, 0, 100,
            "How eagerly kcompactd moves pages together on its own: it looks twice a second whether more than 110 - n "
            "percent of free memory (at most 100) lie in blocks smaller than a huge page. 0: only when it is woken.",
            "watermark_boost_factor: it is woken when kswapd has worked for raised watermarks."),
    Tunable("extfrag_threshold", "fragmentation index", 500, 0, 1000,
            "A woken kcompactd leaves zones alone whose index is not above this: they lack memory (0) rather than "
            "memory in one piece (1000).", "What kcompactd does on its own does not depend on it."),
    Tunable("min_unmapped_ratio", "percent of the node", 1, 0, 100,
            "Node reclaim runs only with more unmapped page cache than this.", "zone_reclaim_mode."),
    Tunable("min_slab_ratio", "percent of the node", 5, 0, 100,
            "Node reclaim shrinks slab only with more reclaimable slab than this.", "zone_reclaim_mode."),
    # Compressed swap: /sys/module/zswap/parameters.
    Tunable("zswap.enabled", "switch", 0, 0, 1,
            "Pages on their way to swap are kept compressed in memory.", "Each of them needs a swap slot all the same.",
            BOOLEAN),
    Tunable("zswap.compressor", "name", 0, 0, len(COMPRESSORS) - 1,
            "lzo, lzo-rle, lz4, zstd or deflate: decides sizes and, unless costs are given, times.", "zswap.enabled.",
            COMPRESSORS),
    Tunable("zswap.zpool", "name", -1, -1, 1,
            "Allocator of the pool: zsmalloc, or zbud, which keeps at most two pages in one. auto: zbud in 6.1, "
            "zsmalloc in 6.12.", "zswap.enabled.", ZPOOLS),
    Tunable("zswap.max_pool_percent", "percent of memory", 20, 0, 100,
            "A pool of this size is full and takes no more pages.", "zswap.accept_threshold_percent."),
    Tunable("zswap.accept_threshold_percent", "percent of the limit", 90, 0, 100,
            "A pool that was full takes pages again from here down.", "zswap.max_pool_percent."),
    Tunable("zswap.shrinker_enabled", "switch", 0, 0, 1,
            "Reclaim writes the coldest pages of the pool to swap before it is full. Not in 6.1.", "zswap.enabled.",
            BOOLEAN),
    Tunable("zswap.same_filled_pages_enabled", "switch", 1, 0, 1,
            "Pages that repeat one word take no memory of the pool. Only in 6.1.", "zswap.enabled.", BOOLEAN),
    Tunable("zswap.non_same_filled_pages_enabled", "switch", 1, 0, 1,
            "Other pages are stored too. Only in 6.1.", "zswap.enabled.", BOOLEAN),
    # Dirty pages.
    Tunable("dirty_ratio", "percent of dirtyable memory", 20, 0, 100,
            "Dirty page cache at which writers are held up.",
            "Excludes dirty_bytes. Dirtyable memory is free memory and page cache, so it shrinks as "
            "anonymous memory grows. Writers slow down from half-way between the two thresholds."),
    Tunable("dirty_background_ratio", "percent of dirtyable memory", 10, 0, 100,
            "Dirty page cache at which the flusher starts.",
            "Excludes dirty_background_bytes; halved dirty_ratio if not below it."),
    Tunable("dirty_bytes", "bytes", 0, 0, LONG_MAX,
            "dirty_ratio as a size. 0: dirty_ratio counts. 0, or 8192 and more.", "Sets dirty_ratio to 0."),
    Tunable("dirty_background_bytes", "bytes", 0, 0, LONG_MAX,
            "dirty_background_ratio as a size. 0: the ratio counts.", "Sets dirty_background_ratio to 0."),
    Tunable("dirty_expire_centisecs", "1/100 s", 3000, 0, INT_MAX,
            "Age from which the periodic flusher writes a dirty page.", "dirty_writeback_centisecs."),
    Tunable("dirty_writeback_centisecs", "1/100 s", 500, 0, INT_MAX,
            "Period of the flusher. 0: no periodic writeback.", "dirty_expire_centisecs."),
    Tunable("laptop_mode", "s", 0, 0, INT_MAX,
            "Other than 0: reclaim writes dirty pages only when it gets into trouble, to keep the disk asleep."),
    # Out of memory.
    Tunable("panic_on_oom", "mode", 0, 0, 2,
            "The kernel panics instead of killing: 1 unless a memory policy confines the allocation, 2 always.",
            "Comes before oom_kill_allocating_task and every policy."),
    Tunable("oom_kill_allocating_task", "switch", 0, 0, 1,
            "Kill the task that ran out of memory instead of the one with the worst score.",
            "A task with oom_score_adj -1000 is never killed.", BOOLEAN),
    # Files.
    Tunable("fault_around_bytes", "bytes", 65536, 4096, 2 << 20,
            "A read fault on a file maps what is cached in this aligned window; rounded down to a power of two."),
    Tunable("read_ahead_kb", "KiB", 128, 0, 1 << 20,
            "Largest readahead window of files. 0: none.", "Regions advised 'random' do not read ahead."),
    # NUMA.
    Tunable("numa_balancing", "bits", 0, 0, 3,
            "1 moves pages to the node that uses them, 2 promotes hot pages from slow nodes. (Distributions set 1 "
            "on machines of several nodes.)", "With 2, kswapd of fast nodes frees up to the promo watermark."),
    Tunable("numa_balancing_promote_rate_limit_MBps", "MiB/s", 65536, 0, INT_MAX,
            "Limit of promotion to fast nodes.", "numa_balancing bit 2."),
    Tunable("numa.scan_delay_ms", "ms", 1000, 0, INT_MAX,
            "Time before the pages of a new task are scanned for balancing.", "numa_balancing."),
    Tunable("numa.scan_period_min_ms", "ms", 1000, 1, INT_MAX, "Time between scans of a task.", "numa_balancing."),
    Tunable("numa.scan_period_max_ms", "ms", 60000, 1, INT_MAX,
            "How often the threshold for hot pages adapts to the rate limit.", "numa_balancing bit 2."),
    Tunable("numa.scan_size_mb", "MiB", 256, 1, 1 << 20, "Memory made to fault per scan.", "numa_balancing."),
    Tunable("numa.hot_threshold_ms", "ms", 1000, 0, INT_MAX,
            "A page of a slow node used within this time after the scan is hot.", "numa_balancing bit 2."),
    Tunable("demotion_enabled", "switch", 0, 0, 1,
            "Reclaim moves pages to a slower node instead of dropping or swapping them.",
            "Needs nodes of several tiers.", BOOLEAN),
    Tunable("hz", "1/s", 250, 100, 1000,
            "Clock ticks of the kernel (CONFIG_HZ): the length of its shortest sleeps."),
]  # fmt: skip
TUNABLES: dict[str, Tunable] = {tunable.name: tunable for tunable in _ALL}

_TRIPLE = "lowmem_reserve_ratio"
_ALIASES = {
    "page_cluster": "page-cluster",
    "vma_ra_enabled": "swap.vma_ra_enabled",
    "numa.demotion_enabled": "demotion_enabled",
    "transparent_hugepage.enabled": "transparent_hugepage",
}  # fmt: skip
# Known to kernels, without a counterpart in the engine; named so that the message can say so.
_NOT_SIMULATED = set(
    "admin_reserve_kbytes compact_memory compact_unevictable_allowed dirtytime_expire_seconds "
    "drop_caches hugetlb_optimize_vmemmap hugetlb_shm_group legacy_va_layout max_map_count "
    "memory_failure_early_kill memory_failure_recovery mmap_min_addr mmap_rnd_bits mmap_rnd_compat_bits nr_hugepages "
    "nr_hugepages_mempolicy nr_overcommit_hugepages numa_stat numa_zonelist_order oom_dump_tasks overcommit_kbytes "
    "overcommit_memory overcommit_ratio page_lock_unfairness stat_interval stat_refresh unprivileged_userfaultfd "
    "user_reserve_kbytes".split()
)


def kernel_of(release: str) -> str:
    """The simulated kernel nearest to a release such as ``"6.1.0-18-amd64"``; ValueError if it is no version."""
    version = re.search(r"(\d+)\.(\d+)", release)
    if version is None:
        raise ValueError(f"{release!r} has no version")
    return "6.1" if (int(version[1]), int(version[2])) < (6, 8) else "6.12"


def canonical(name: str) -> str:
    """The name in `TUNABLES` that a name as people write it stands for.

    Raises
    ------
    TunableError
        Unknown, or known to kernels but not simulated.
    """
    bare = name.removeprefix("vm.").removeprefix("kernel.")
    bare = _ALIASES.get(bare, bare)
    if bare in TUNABLES or bare == _TRIPLE:
        return bare
    if bare in _NOT_SIMULATED:
        raise TunableError(f"vm.{bare}: the kernel has it, but it has no effect in the simulation; leave it out")
    near = difflib.get_close_matches(bare, TUNABLES, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"accepted are {', '.join(sorted(TUNABLES))}"
    raise TunableError(f"vm.{bare}: unknown tunable; {hint}")


def _size(text: str, unit: int) -> int | None:
    """A size such as ``"64MiB"`` in units of so many bytes; None unless it is a whole number of them."""
    try:
        whole, rest = divmod(units.parse_bytes(text), unit)
    except UnitError:
        return None
    return None if rest else whole


def parse(tunable: Tunable, value: object) -> int:
    """The number that a value stands for; TunableError unless it is one and within bounds."""
    number: int | None = None
    if isinstance(value, bool):
        number = int(value) if tunable.words is BOOLEAN else None
    elif isinstance(value, int):
        number = value
    elif isinstance(value, str):
        text = value.strip()
        chosen = re.search(r"\[([\w-]+)\]", text)  # /sys shows alternatives as "always [madvise] never"
        text = chosen.group(1) if chosen else text
        if text.lower() in tunable.words:
            number = tunable.words[text.lower()]
        elif re.fullmatch(r"-?(?:[0-9]_?){0,29}[0-9]", text):
            number = int(text)
        elif tunable.unit in ("bytes", "KiB"):
            number = _size(text, 1024 if tunable.unit == "KiB" else 1)
    if number is None:
        raise TunableError(f"vm.{tunable.name}: {value!r} is not understood; accepted is {tunable.accepted}")
    if not tunable.minimum <= number <= tunable.maximum:
        raise TunableError(f"vm.{tunable.name}: {value!r} is out of range; accepted is {tunable.accepted}")
    if tunable.name == "percpu_pagelist_high_fraction" and 0 < number < 8:
        raise TunableError(f"vm.{tunable.name}: {value!r} is out of range; accepted is 0, or 8 and more")
    if tunable.name == "dirty_bytes" and 0 < number < 2 * units.PAGE_SIZE:
        raise TunableError(f"vm.{tunable.name}: {value!r} is out of range; accepted is 0, or 8192 and more")
    return number


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    # TOML turns `swap.vma_ra_enabled = 1` into a table in a table
    for name, value in values.items():
        if not isinstance(name, str):
            raise TunableError(f"vm: the name {name!r} is no text; accepted are names such as 'swappiness'")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _triple(value: object) -> list[object]:
    """The ratios of DMA, DMA32 and Normal; those of further zones must be 0, as nothing lies above them."""
    if isinstance(value, str):
        parts: list[object] = list(value.split())
    elif isinstance(value, Sequence):
        parts = list(value)
    else:
        parts = []
    if not 3 <= len(parts) <= 5 or any(str(part) != "0" for part in parts[3:]):
        raise TunableError(
            f"vm.{_TRIPLE}: {value!r} is not understood; accepted are the ratios of DMA, DMA32 and Normal, "
            "such as '256 256 32'"
        )
    return parts[:3]


def resolve(values: Mapping[str, object], kernel: str) -> dict[str, int]:
    """All tunables, defaults filled in.

    Parameters
    ----------
    values : mapping
        By name, with or without ``vm.``; numbers or text, nested tables allowed.
    kernel : str
        ``"6.1"`` or ``"6.12"``.

    Raises
    ------
    TunableError
        An unknown name, a value out of bounds, or two settings that exclude each other.
    """
    if kernel not in KERNELS:
        raise TunableError(f"kernel: {kernel!r} is unknown; accepted are {', '.join(KERNELS)}")
    given: dict[str, int] = {}
    for name, value in _flat(values):
        key = canonical(name)
        if key == _TRIPLE:
            for zone, part in zip(("dma", "dma32", "normal"), _triple(value), strict=True):
                given[f"{key}.{zone}"] = parse(TUNABLES[f"{key}.{zone}"], part)
        else:
            given[key] = parse(TUNABLES[key], value)
        if ONLY_IN.get(key, kernel) != kernel:
            raise TunableError(f"vm.{key}: kernel {kernel} does not have it; leave it out")
    out = {name: tunable.default for name, tunable in TUNABLES.items()} | given
    for stem in ("dirty", "dirty_background"):
        if out[f"{stem}_bytes"]:
            if given.get(f"{stem}_ratio"):
                raise TunableError(
                    f"vm.{stem}_bytes: {out[f'{stem}_bytes']} excludes vm.{stem}_ratio = {given[f'{stem}_ratio']}; "
                    "accepted is one of them, the other 0 or left out"
                )
            out[f"{stem}_ratio"] = 0
    return out


def read_sysctl_conf(path: str | Path) -> dict[str, str]:
    """The ``vm.*`` and NUMA balancing settings of a file such as ``/etc/sysctl.conf``; the last one of a name counts.

    Other settings (``net.*`` ...) are passed over; values are not looked at, `resolve` does that.

    Raises
    ------
    TunableError
        The file cannot be read, or a line is not a setting.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TunableError(f"{path}: cannot be read: {error}") from None
    out: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.removeprefix("-").partition("=")
        key = key.strip()
        # A first separator of "/" makes "/" the separator, as sysctl(8) has it.
        if "/" in key and "." not in key.split("/", 1)[0]:
            key = key.replace("/", ".")
        if not equals or not key:
            raise TunableError(f"{path}, line {number}: {line!r} is not understood; accepted is NAME = VALUE")
        if key.startswith(("vm.", "kernel.numa_balancing")):
            out.pop(key, None)
            out[key] = value.strip()
    return out


def _pages(size: int) -> int:
    return -(-size // units.PAGE_SIZE)


def engine_params(resolved: Mapping[str, int], kernel: str, total_pages: int) -> dict[str, int]:
    """The tunables in the engine's units, by the names of ``memcore/params.pxd``.

    Parameters
    ----------
    resolved : mapping
        From `resolve`.
    kernel : str
    total_pages : int
        Memory of the machine; a larger min_free_kbytes is refused.

    Raises
    ------
    TunableError
        The reserve does not fit into the machine.
    """
    r = resolved
    if r["min_free_kbytes"] // KIB_PER_PAGE >= total_pages:
        raise TunableError(
            f"vm.min_free_kbytes: {r['min_free_kbytes']} is all memory of a machine of {total_pages} pages; accepted "
            f"is less than {total_pages * KIB_PER_PAGE}"
        )
    same = (
        "hz min_free_kbytes watermark_scale_factor watermark_boost_factor percpu_pagelist_high_fraction swappiness "
        "vfs_cache_pressure dirty_ratio dirty_background_ratio laptop_mode zone_reclaim_mode min_unmapped_ratio "
        "min_slab_ratio panic_on_oom oom_kill_allocating_task numa_balancing demotion_enabled "
        "compaction_proactiveness extfrag_threshold"
    )
    return {
        "kernel": KERNELS[kernel],
        **{name: r[name] for name in same.split()},
        "lowmem_reserve_dma": r["lowmem_reserve_ratio.dma"],
        "lowmem_reserve_dma32": r["lowmem_reserve_ratio.dma32"],
        "lowmem_reserve_normal": r["lowmem_reserve_ratio.normal"],
        "thp_enabled": int(r["transparent_hugepage"] > 0),
        "page_cluster": r["page-cluster"],
        "vma_ra_enabled": r["swap.vma_ra_enabled"],
        "lru_batch": min(r["lru_batch"], 15 if kernel == "6.1" else 31),
        "dirty_pages": _pages(r["dirty_bytes"]),
        "dirty_background_pages": _pages(r["dirty_background_bytes"]),
        "dirty_expire_ns": r["dirty_expire_centisecs"] * CENTISECOND,
        "dirty_writeback_ns": r["dirty_writeback_centisecs"] * CENTISECOND,
        "fault_around_pages": 1 << (r["fault_around_bytes"] // units.PAGE_SIZE).bit_length() - 1,
        "ra_pages": r["read_ahead_kb"] // KIB_PER_PAGE,
        "numa_promote_pages_per_sec": r["numa_balancing_promote_rate_limit_MBps"] * PAGES_PER_MIB,
        "numa_scan_delay_ns": r["numa.scan_delay_ms"] * MILLISECOND,
        "numa_scan_period_ns": r["numa.scan_period_min_ms"] * MILLISECOND,
        "numa_scan_period_max_ns": r["numa.scan_period_max_ms"] * MILLISECOND,
        "numa_scan_pages": r["numa.scan_size_mb"] * PAGES_PER_MIB,
        "numa_hot_threshold_ns": r["numa.hot_threshold_ms"] * MILLISECOND,
        "zswap_enabled": r["zswap.enabled"],
        "zswap_max_pool_percent": r["zswap.max_pool_percent"],
        "zswap_accept_percent": r["zswap.accept_threshold_percent"],
        "zswap_zbud": int(kernel == "6.1") if r["zswap.zpool"] < 0 else r["zswap.zpool"],
        "zswap_shrinker": r["zswap.shrinker_enabled"],
        "zswap_same_filled": r["zswap.same_filled_pages_enabled"],
        "zswap_non_same_filled": r["zswap.non_same_filled_pages_enabled"],
    }


@dataclass(frozen=True)
class Cost:
    """Simulated time of one event.

    Attributes
    ----------
    name : str
        Field of ``memcore/params.pxd``.
    default : int
        ns.
    meaning, source : str
        What is charged, and where the figure comes from.
    """

    name: str
    default: int
    meaning: str
    source: str


_MEASURED = "published and measured figures for current x86-64 cores"
_ESTIMATE = "estimate"
_COSTS = [
    Cost("c_zero_page_fault", 500, "read fault on untouched anonymous memory", f"{_MEASURED}: 0.6 us in a VM"),
    Cost("c_anon_fault", 1000, "write fault on untouched anonymous memory, page zeroed",
         f"{_MEASURED}: median 1.0 us on Linux 6.6, 1.7 us in a VM"),
    Cost("c_cow_fault", 1500, "write fault that copies a page", f"{_MEASURED}: 2.8 us in a VM"),
    Cost("c_file_minor_fault", 1500, "fault on a cached file page", f"{_MEASURED}: 0.3 to 5 us with its neighbours"),
    Cost("c_map_page", 200, "a neighbour is mapped with it (fault-around)", f"{_MEASURED}: 3 us for 16"),
    Cost("c_wp_reuse", 500, "write-protect fault that keeps the page", f"{_MEASURED}: 0.8 us in a VM"),
    Cost("c_major_fault", 3000, "software part of a fault that waits for a device", "rule of thumb: 2 to 5 us"),
    Cost("c_fork_pte", 100, "fork, per page present", f"{_MEASURED}: 0.15 to 0.2 us in a VM"),
    Cost("c_unmap_page", 300, "munmap and exit, per page", f"{_MEASURED}: 0.4 us in a VM"),
    Cost("c_reclaim_scan", 500, "reclaim looks at a page and its mappings", _ESTIMATE),
    Cost("c_reclaim_skip", 15, "reclaim passes over a page of a zone too high, or mapped where it may not unmap",
         "measured: 0.2 us where everything takes 20 times longer"),
    Cost("c_reclaim_free", 400, "reclaim frees a clean page", f"{_ESTIMATE}: 0.3 to 0.5 us"),
    Cost("c_reclaim_cache", 200, "reclaim looks at a page of the page cache that nobody maps, and frees it",
         "measured: 2 to 5 us where everything takes 20 to 28 times longer"),
    Cost("c_reclaim_unmap", 1000, "reclaim unmaps a page", _ESTIMATE),
    Cost("c_tlb_flush", 1000, "TLB shootdown of a batch of 32 pages", "rule of thumb, and 1.6 us measured in a VM"),
    Cost("c_tlb_flush_cpu", 200, "the same, per further CPU", "rule of thumb"),
    Cost("c_reclaim_pass", 10_000, "reclaim looks at a node once: counts, drained batches, every shrinker asked",
         _ESTIMATE),
    Cost("c_writeback_page", 1500, "the flusher writes a page: cleaned in every page table, submitted",
         "derived: a flusher fills 2 to 3 GB/s of disk per core"),
    Cost("c_page_cache_add", 700, "a file page enters the page cache", "derived: write() of new pages at 2 to 3 GB/s"),
    Cost("c_slab_object", 200, "reclaim of a slab object", _ESTIMATE),
    Cost("c_context_switch", 2000, "context switch", f"{_ESTIMATE}: 2 to 5 us"),
    Cost("c_wakeup", 2000, "waking kswapd", f"{_ESTIMATE}: 2 to 5 us"),
    Cost("c_syscall", 300, "entry and exit of a system call", _ESTIMATE),
    Cost("c_page_copy", 300, "read() or write() copies a page", "derived: 4 KiB at 14 GB/s"),
    Cost("c_migrate", 3000, "moving a page to another frame", _ESTIMATE),
    Cost("c_hint_fault", 700, "fault of NUMA balancing", _ESTIMATE),
    Cost("c_exit", 100_000, "exit of a task, without its pages", _ESTIMATE),
    Cost("c_compress", 4000, "compressing a page, instead of what the codec says", "measured: lz4, 3 to 12 us"),
    Cost("c_decompress", 1000, "decompressing a page, instead of what the codec says", "measured: lz4, 1 to 2 us"),
    Cost("c_same_filled", 150, "finding out that a page holds one repeated word", _ESTIMATE),
    Cost("sched_quantum", 100_000, "how far the clocks of CPUs may drift apart: accuracy against speed", "chosen"),
    Cost("sched_slice", 3_000_000, "run time before another runnable task gets the CPU", "kernel: base slice"),
]  # fmt: skip
COSTS: dict[str, Cost] = {cost.name: cost for cost in _COSTS}
