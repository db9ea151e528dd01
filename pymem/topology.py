"""The machine: nodes with their zones and CPUs, swap devices, and the disk that files lie on (`pymem.devices`).

Zones are split as on x86-64: DMA below 16 MiB, DMA32 below 4 GiB (of which the last GiB is a hole for
devices), NORMAL above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pymem.devices import (
    MAX_LATENCY,
    MAX_SLOTS,
    Compression,
    Disk,
    SwapDevice,
    field_names,
    integer,
    known,
)
from pymem.errors import ScenarioError
from pymem.numa import LOCAL_DISTANCE, PRESETS, REMOTE_DISTANCE, Shape, equal, split_cpus, split_memory, spread
from pymem.units import PAGE_SIZE, format_pages, parse_pages, parse_time

#: Keys that a zone in TOML must have.
ZONE_NEEDS = ("name", "start_pfn", "spanned", "present", "managed", "free")
ZONE_NAMES = ("DMA", "DMA32", "Normal", "Movable")
MIN_MEMORY = 4096  # pages (16 MiB): below, the boot reserves alone would not fit
MAX_MEMORY = 1 << 31  # pages: 8 TiB
MAX_PFN = 1 << 40
MAX_NODES, MAX_CPUS = 64, 256
MAX_DISTANCE = 254  # of the firmware's table: 255 would mean unreachable

_DMA_END, _HOLE, _HOLE_END = 4096, 3 << 18, 4 << 18  # page frame numbers
_DMA_RESERVED = 156  # pages of the first MiB and of the memory map: 3840 of 3998 are managed on a PC


#: Whether the pages of a file system have buffer heads.
FILESYSTEMS = {"ext4": True, "ext2": True, "xfs": False, "btrfs": False}


#: Pages of a page block (2 MiB), in which mobility is decided.
PAGEBLOCK = 512
#: The types of page blocks that are not movable, with the engine's numbers.
MIGRATE_TYPES = {"unmovable": 0, "reclaimable": 2}


@dataclass(frozen=True)
class Zone:
    """One zone in pages, as ``/proc/zoneinfo`` has it.

    Parameters
    ----------
    name : {"DMA", "DMA32", "Normal", "Movable"}
    start_pfn, spanned, present, managed : int
    free : int
        What is not in use when the run begins.
    percpu : int
        Further free pages, in per-CPU lists: a machine that has run for a while has some hundred.  In a zone with
        `unmovable` or `reclaimable` pages some of them are in the lists of these types.
    metadata : int
        Pages of the kernel's in which a mounted file system keeps its superblock, group descriptors and bitmaps open:
        on the active file list, where reclaim meets them in vain.
    unmovable, reclaimable : int or sequence of int
        Of the free pages those in page blocks of these types (``/proc/pagetypeinfo``), which lie below the others. A
        number of pages fills as many page blocks of 512 as it can and the end of one more; a sequence says of each page
        block how many of its pages are free, its last.  The kernel's own pages come from there.  When nothing else is
        free and a program gets these, or the kernel has none of a type left and takes others, the watermarks of the
        zone rise for a while (``watermark_boost_factor``) and kswapd is woken for it alone, unless it was a page block
        that is all free.  A zone with neither is movable altogether: nobody takes from others.
    watermarks : (min, low, high), optional
    protection : sequence of int, optional
        Read off a running kernel.  A kernel computes both at boot, before it gives back the memory of its
        initialisation, so they differ a little from what the tunables would give now; the tunables have no effect
        on what is given here.  (The protection is computed again when somebody reads ``lowmem_reserve_ratio``.)
    """

    name: str
    start_pfn: int
    spanned: int
    present: int
    managed: int
    free: int
    percpu: int = 0
    metadata: int = 0
    unmovable: int | Sequence[int] = 0
    reclaimable: int | Sequence[int] = 0
    watermarks: tuple[int, int, int] | None = None
    protection: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in ZONE_NAMES:
            raise ScenarioError(f"zone.name: {self.name!r}; accepted are {', '.join(ZONE_NAMES)}")
        for name in ("start_pfn", "spanned", "present", "managed", "free"):
            integer(getattr(self, name), f"zone {self.name}.{name}", 0, MAX_PFN)
        if not 0 <= self.free <= self.managed <= self.present <= self.spanned:
            raise ScenarioError(
                f"zone {self.name}: free {self.free}, managed {self.managed}, present {self.present}, spanned "
                f"{self.spanned}; accepted is free <= managed <= present <= spanned"
            )
        key = f"zone {self.name}"
        integer(self.percpu, f"{key}.percpu", 0, self.managed - self.free)
        integer(self.metadata, f"{key}.metadata", 0, self.managed - self.free - self.percpu)
        for name in MIGRATE_TYPES:
            pages = getattr(self, name)
            if isinstance(pages, (list, tuple)):
                for number in pages:
                    integer(number, f"{key}.{name}", 1, PAGEBLOCK)
                object.__setattr__(self, name, tuple(pages))
            else:
                integer(pages, f"{key}.{name}", 0, self.free)
        blocks = [pages for _, pages in self.kernel_blocks]
        kind = f"{len(blocks)} page blocks of unmovable and reclaimable memory"
        if sum(blocks) > self.free:
            raise ScenarioError(f"{key}: {kind} have {sum(blocks)} free pages, the zone {self.free}")
        first = self._first_free()
        if first < self.start_pfn:
            raise ScenarioError(
                f"{key}: {kind} would begin at {first}, before the zone; accepted are fewer of them or fewer free pages"
            )
        below = self.percpu + self.metadata
        if blocks and below and first // PAGEBLOCK * PAGEBLOCK - below < self.start_pfn:
            raise ScenarioError(
                f"{key}: {kind} leave no room for {self.percpu} of percpu and {self.metadata} of metadata below them; "
                "accepted are fewer of any"
            )
        for name in ("watermarks", "protection"):
            pages = getattr(self, name)
            if pages is not None:
                if not isinstance(pages, (list, tuple)):
                    raise ScenarioError(f"{key}.{name}: {pages!r}; accepted are numbers of pages")
                for number in pages:
                    integer(number, f"{key}.{name}", 0, MAX_PFN)
                object.__setattr__(self, name, tuple(pages))
        if self.watermarks is not None and (len(self.watermarks) != 3 or sorted(self.watermarks) != [*self.watermarks]):
            raise ScenarioError(f"{key}.watermarks: {self.watermarks!r}; accepted is min <= low <= high")

    @property
    def kernel_blocks(self) -> list[tuple[int, int]]:
        """Page blocks of the kernel's from the highest to the lowest: migratetype and free pages; whole ones below."""
        out: list[tuple[int, int]] = []
        for name, mt in MIGRATE_TYPES.items():
            pages = getattr(self, name)
            if not isinstance(pages, tuple):
                pages = (pages % PAGEBLOCK or PAGEBLOCK,) * (pages > 0) + (PAGEBLOCK,) * ((pages - 1) // PAGEBLOCK)
            out += [(mt, number) for number in sorted(pages)]
        return out

    def _first_free(self) -> int:
        """Lowest free page: the page blocks of the kernel's lie below that in which the others begin."""
        blocks = self.kernel_blocks
        movable = self.start_pfn + self.spanned - (self.free - sum(pages for _, pages in blocks))
        if not blocks:
            return movable
        return (movable // PAGEBLOCK - len(blocks) + 1) * PAGEBLOCK - blocks[-1][1]


@dataclass(frozen=True)
class Node:
    """A NUMA node.

    Parameters
    ----------
    memory : int or str
        Bytes, split into zones by address; 0: a node of CPUs only.
    cpus : int
        0: a node of memory only.
    zones : sequence of Zone
        Instead of `memory`: zones as given, at most one of each name.
    access : int or str
        Time of an access from a CPU of the same node, or from distance 10; from others it takes distance / 10.
    tier : int, optional
        Memory tier, 0 being the fastest; by default it follows from the times of access, see `pymem.numa.tiers`.
    """

    memory: int | str = 0
    cpus: int = 1
    zones: tuple[Zone, ...] = ()
    access: int | str = "90ns"
    tier: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "zones", _all_of(Zone, self.zones, "machine.nodes.zones"))
        names = [zone.name for zone in self.zones]
        if len(set(names)) != len(names):
            raise ScenarioError(f"machine.nodes.zones: {', '.join(names)}; accepted is one zone of each name")
        if parse_time(self.access, "machine.nodes.access") > MAX_LATENCY:
            raise ScenarioError(f"machine.nodes.access: {self.access!r}; accepted is up to 1h")
        if self.tier is not None:
            integer(self.tier, "machine.nodes.tier", 0, MAX_NODES - 1)


@dataclass(frozen=True, kw_only=True)
class Boot:
    """Memory that the kernel itself holds when the run begins; None: typical for the size of the machine.

    Parameters
    ----------
    kernel : int or str, optional
        Image, boot allocations and other memory that never comes back.
    slab_reclaimable, slab_freeable, slab_unreclaimable : int or str, optional
        Slab that no shrinker can free although it is called reclaimable, slab that shrinkers free (dentries and
        inodes), and the rest.
    ramfs : int or str
        Part of `kernel`: files of an initial RAM disk, which count as page cache (``Cached``) and never leave memory.
    ramfs_mapped : int or str
        Part of `ramfs`: what programs outside the simulation run, which counts as ``Mapped``.  Node reclaim takes it
        for page cache of the node that it may not unmap (``vm.min_unmapped_ratio``).
    """

    kernel: int | str | None = None
    slab_reclaimable: int | str | None = None
    slab_freeable: int | str | None = None
    slab_unreclaimable: int | str | None = None
    ramfs: int | str = 0
    ramfs_mapped: int | str = 0

    def __post_init__(self) -> None:
        ramfs, mapped = (parse_pages(getattr(self, n), f"machine.boot.{n}") for n in ("ramfs", "ramfs_mapped"))
        if mapped > ramfs:
            raise ScenarioError(f"machine.boot.ramfs_mapped: {mapped} pages; accepted is up to the {ramfs} of ramfs")


@dataclass(frozen=True)
class Machine:
    """A machine.

    Parameters
    ----------
    memory : int or str
        Installed memory, for example ``"512MiB"``; not used where `nodes` is a sequence.
    cpus : int, optional
        By default 2, or 2 for every node of a preset that has CPUs.
    swap : sequence of SwapDevice
    disk : Disk
        What files lie on.
    filesystem : {"ext4", "ext2", "xfs", "btrfs"}
        The ext ones keep a buffer head (104 bytes of slab) for every page that was written.
    nodes : sequence of Node, or int
        NUMA nodes; a number: so many equal ones share `memory` and `cpus`; empty: one node.
    distances : sequence of sequences of int, or int
        SLIT distances, 10 is local; a number: of all nodes from each other; default 20.
    boot : Boot
        What the kernel holds at the start.
    preset : str, optional
        Instead of `nodes`, a shape among which `memory` and `cpus` are divided: see `pymem.numa.PRESETS`.
    interleave_weights : sequence of int
        Pages in a row that each node gives under the policy ``weighted-interleave``, 1 to 255; default 1.
    """

    memory: int | str = "1GiB"
    cpus: int | None = None
    swap: tuple[SwapDevice, ...] = ()
    disk: Disk = field(default_factory=Disk)
    filesystem: str = "ext4"
    nodes: tuple[Node, ...] | int = ()
    distances: tuple[tuple[int, ...], ...] | int = ()
    boot: Boot = field(default_factory=Boot)
    preset: str | None = None
    interleave_weights: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "swap", _all_of(SwapDevice, self.swap, "machine.swap"))
        if isinstance(self.nodes, int):
            integer(self.nodes, "machine.nodes", 1, MAX_NODES)
        else:
            object.__setattr__(self, "nodes", _all_of(Node, self.nodes, "machine.nodes"))
        if self.preset is not None:
            if not isinstance(self.preset, str) or self.preset not in PRESETS:
                raise ScenarioError(f"machine.preset: {self.preset!r}; accepted are {', '.join(PRESETS)}")
            if self.nodes:
                raise ScenarioError("machine.nodes: given together with machine.preset; accepted is one of them")
        for name, cls in (("disk", Disk), ("boot", Boot)):
            if not isinstance(getattr(self, name), cls):
                raise ScenarioError(f"machine.{name}: {getattr(self, name)!r}; accepted is a pymem.{cls.__name__}")
        if self.filesystem not in FILESYSTEMS:
            raise ScenarioError(f"machine.filesystem: {self.filesystem!r}; accepted are {', '.join(FILESYSTEMS)}")
        if sum(device.slots for device in self.swap) > MAX_SLOTS:
            raise ScenarioError(f"machine.swap: more than {MAX_SLOTS} slots (16 TiB) together")
        if len(self.swap) > 32:
            raise ScenarioError(f"machine.swap: {len(self.swap)} areas; accepted are up to 32")
        if self.cpus is not None:
            integer(self.cpus, "machine.cpus", 0, MAX_CPUS)
        for number, node in enumerate(self.all_nodes):
            integer(node.cpus, f"machine.nodes[{number}].cpus" if self.nodes else "machine.cpus", 0, MAX_CPUS)
        cpus = sum(node.cpus for node in self.all_nodes)
        if not 1 <= cpus <= MAX_CPUS:
            raise ScenarioError(f"machine.cpus: {cpus} in all; accepted is 1 to {MAX_CPUS}")
        if len(self.all_nodes) > MAX_NODES:
            raise ScenarioError(f"machine.nodes: {len(self.all_nodes)}; accepted are up to {MAX_NODES}")
        self._check_distances(len(self.all_nodes))
        self._check_weights(len(self.all_nodes))
        managed = sum(zone.managed for zones in self.layout() for zone in zones)
        for number, device in enumerate(self.swap):
            if device.mem_limit_pages > managed:
                raise ScenarioError(
                    f"machine.swap[{number}].mem_limit: {device.mem_limit_pages} pages; accepted is up to {managed}, "
                    "the memory of the machine"
                )

    def _check_distances(self, n: int) -> None:
        accepted = f"{n} rows of {n} numbers from {LOCAL_DISTANCE} to {MAX_DISTANCE}"
        rows = self.distances
        if isinstance(rows, int):
            integer(rows, "machine.distances", LOCAL_DISTANCE, MAX_DISTANCE)
            return
        if not isinstance(rows, (list, tuple)) or not all(isinstance(row, (list, tuple)) for row in rows):
            raise ScenarioError(f"machine.distances: {rows!r}; accepted are {accepted}")
        if rows and [len(row) for row in rows] != [n] * n:
            found = f"{len(rows)} rows of {[len(row) for row in rows]}"
            raise ScenarioError(f"machine.distances: {found}; accepted are {accepted}")
        for i, row in enumerate(rows):
            for distance in row:
                integer(distance, f"machine.distances[{i}]", LOCAL_DISTANCE, MAX_DISTANCE)
        object.__setattr__(self, "distances", tuple(map(tuple, rows)))

    def _check_weights(self, n: int) -> None:
        weights = self.interleave_weights
        if not isinstance(weights, (list, tuple)) or len(weights) not in (0, n):
            raise ScenarioError(f"machine.interleave_weights: {weights!r}; accepted are {n} numbers from 1 to 255")
        for i, weight in enumerate(weights):
            integer(weight, f"machine.interleave_weights[{i}]", 1, 255)
        object.__setattr__(self, "interleave_weights", tuple(weights))

    def _shape(self) -> Shape | None:
        """How memory and CPUs are divided; None where the nodes are given, or there is one."""
        if self.preset is not None:
            return PRESETS[self.preset]
        return equal(self.nodes) if isinstance(self.nodes, int) else None

    @property
    def all_nodes(self) -> tuple[Node, ...]:
        """The nodes, also of a machine that was given without, or by a number or preset."""
        shape = self._shape()
        if shape is None:
            assert not isinstance(self.nodes, int)
            return self.nodes or (Node(self.memory, 2 if self.cpus is None else self.cpus),)
        cpus = split_cpus(shape, 2 * shape.sockets if self.cpus is None else self.cpus, "machine.cpus")
        pages = split_memory(shape, parse_pages(self.memory, "machine.memory"))
        return tuple(
            Node(size * PAGE_SIZE, n, access=access) for size, n, access in zip(pages, cpus, shape.access, strict=True)
        )

    @property
    def all_distances(self) -> tuple[tuple[int, ...], ...]:
        """Distances of all nodes, also where they are given by a number, a preset or not at all."""
        n, shape = len(self.all_nodes), self._shape()
        if isinstance(self.distances, int):
            return spread(n, self.distances)
        return self.distances or (shape.distances if shape else spread(n, REMOTE_DISTANCE))

    def layout(self) -> list[list[Zone]]:
        """Zones of every node with what is free at the start. ScenarioError if the memory is too small."""
        pfn, out = 1, []
        for number, node in enumerate(self.all_nodes):
            if node.zones:
                out.append(list(node.zones))
                continue
            key = f"machine.nodes[{number}].memory" if self.nodes else "machine.memory"
            pages = parse_pages(node.memory, key)
            if pages and not MIN_MEMORY <= pages <= MAX_MEMORY:
                if self._shape():
                    raise ScenarioError(
                        f"machine.memory: {self.memory!r} gives node {number} {format_pages(pages)}; accepted is 16MiB "
                        "to 8TiB for each node"
                    )
                raise ScenarioError(f"{key}: {node.memory!r}; accepted is 16MiB to 8TiB")
            zones, pfn = _split(pages, pfn)
            out.append(zones)
        if not any(out):
            raise ScenarioError("machine.memory: no node has any; accepted is 16MiB to 8TiB in at least one")
        if any(node.zones for node in self.all_nodes):
            held = sum(zone.managed - zone.free for zones in out for zone in zones)
            if sum(self.slab().values()) > held:
                raise ScenarioError(
                    f"machine.boot: slab of {sum(self.slab().values())} pages; accepted is up to the {held} pages that "
                    "the zones say are not free"
                )
        else:
            first = next(i for i, zones in enumerate(out) if zones)
            out[first] = self._boot(out[first], sum(zone.managed for zones in out for zone in zones))
        return out

    def slab(self) -> dict[str, int]:
        """Pages of slab in use when the run begins, by the names of `Boot`."""
        zones = [zone for zones in self._unbooted() for zone in zones]
        total = sum(zone.managed for zone in zones)
        most = 65536
        if any(node.zones for node in self.all_nodes):  # what the kernel holds is given too, and slab is part of it
            most = sum(zone.managed - zone.free for zone in zones) // 4
        typical = {"slab_reclaimable": total // 128, "slab_freeable": total // 256, "slab_unreclaimable": total // 64}
        out = {}
        for name, pages in typical.items():
            given = getattr(self.boot, name)
            out[name] = min(pages, most) if given is None else parse_pages(given, f"machine.boot.{name}")
        return out

    def _unbooted(self) -> list[list[Zone]]:
        pfn, out = 1, []
        for node in self.all_nodes:
            zones, pfn = (list(node.zones), pfn) if node.zones else _split(parse_pages(node.memory), pfn)
            out.append(zones)
        return out

    def _boot(self, zones: list[Zone], total: int) -> list[Zone]:
        """The first node that has memory, with the kernel's own taken from its largest zone."""
        given = self.boot.kernel
        kernel = min(total // 32, 16384) if given is None else parse_pages(given, "machine.boot.kernel")
        held = kernel + sum(self.slab().values())
        largest = max(range(len(zones)), key=lambda i: zones[i].managed)
        zone = zones[largest]
        if held > zone.managed // 2:
            raise ScenarioError(
                f"machine.boot: the kernel would hold {held} of {zone.managed} pages; accepted is up to half"
            )
        zones[largest] = Zone(
            zone.name, zone.start_pfn, zone.spanned, zone.present, zone.managed, zone.managed - held
        )
        return zones


def _split(pages: int, pfn: int) -> tuple[list[Zone], int]:
    """Zones of `pages` frames from `pfn` on, and the first frame number after them."""
    zones = []
    while pages > 0:
        if _HOLE <= pfn < _HOLE_END:
            pfn = _HOLE_END
        name, end = "Normal", pfn + pages
        if pfn < _HOLE:
            name, end = ("DMA", _DMA_END) if pfn < _DMA_END else ("DMA32", _HOLE)
        size = min(pages, end - pfn)
        # The memory map takes 64 bytes of each frame; the first MiB belongs to the firmware.
        reserved = _DMA_RESERVED if name == "DMA" else size // 64
        zones.append(Zone(name, pfn, size, size, max(size - reserved, 0), max(size - reserved, 0)))
        pages -= size
        pfn += size
    return zones, pfn


def _all_of(cls: type, values: Any, key: str) -> tuple[Any, ...]:
    """The values as a tuple, when they are objects of `cls`."""
    if not isinstance(values, (list, tuple)):
        raise ScenarioError(f"{key}: {values!r}; accepted is a sequence of {cls.__name__} objects")
    for item in values:
        if not isinstance(item, cls):
            raise ScenarioError(f"{key}: {item!r}; accepted are {cls.__name__} objects")
    return tuple(values)


def _table(value: Any, key: str, accepted: list[str]) -> dict[str, Any]:
    """A copy of the table, when it has accepted keys only."""
    if not isinstance(value, dict):
        raise ScenarioError(f"{key}: {value!r}; accepted is a table")
    known(value, accepted, key)
    return dict(value)


def _tables(value: Any, key: str, accepted: list[str], needed: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The tables of an array, each checked by `_table` and for the keys it must have."""
    if not isinstance(value, list):
        raise ScenarioError(f"{key}: {value!r}; accepted is an array of tables")
    tables = [_table(item, f"{key}[{number}]", accepted) for number, item in enumerate(value)]
    for number, table in enumerate(tables):
        for name in needed:
            if name not in table:
                raise ScenarioError(f"{key}[{number}].{name}: missing")
    return tables


def machine_from(value: Any, key: str = "machine") -> Machine:
    """The machine of a TOML table; ScenarioError names an unknown key or a value that is not accepted."""
    table = _table(value, key, field_names(Machine))
    accepted = ["size", "priority", *field_names(Disk), *field_names(Compression)]
    entries = _tables(table.pop("swap", []), f"{key}.swap", accepted, ["size"])
    table["swap"] = []
    for number, entry in enumerate(entries):
        if "backing" in entry:
            backing = _table(entry["backing"], f"{key}.swap[{number}].backing", field_names(Disk))
            entry = {**entry, "backing": Disk(**backing)}
        table["swap"].append(SwapDevice(**entry))
    if "disk" in table:
        table["disk"] = Disk(**_table(table["disk"], f"{key}.disk", field_names(Disk)))
    if "boot" in table:
        table["boot"] = Boot(**_table(table["boot"], f"{key}.boot", field_names(Boot)))
    if not isinstance(table.get("nodes"), int):
        table["nodes"] = _nodes_from(table.get("nodes", []), f"{key}.nodes")
    return Machine(**table)


def _nodes_from(value: Any, key: str) -> list[Node]:
    nodes = []
    for number, entry in enumerate(_tables(value, key, field_names(Node))):
        zones = _tables(entry.pop("zones", []), f"{key}[{number}].zones", field_names(Zone), ZONE_NEEDS)
        nodes.append(Node(**entry, zones=tuple(Zone(**zone) for zone in zones)))
    return nodes
