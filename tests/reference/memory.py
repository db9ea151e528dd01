"""Slow, readable model of a machine's memory: pages on LRU lists, page cache, swap cache, shadows, swap traffic.

One node with one zone, one CPU, one task. Nothing here decides; see reclaim.py and machine.py.
"""

from collections import Counter, OrderedDict

from reference.buddy import Zone, min_free_kbytes, watermarks
from reference.clock import SECOND, Clock, Device
from reference.swap import SwapArea

INACTIVE_ANON, ACTIVE_ANON, INACTIVE_FILE, ACTIVE_FILE = range(4)
LRU_NAMES = ("inactive_anon", "active_anon", "inactive_file", "active_file")
SLOTS_PER_NODE = 64
STATS_PERIOD = 2 * SECOND
MOST_REQUESTS, LONG_REQUEST, LONGEST_REQUEST = 32, 32, 127


class Page:
    """One frame in use by a task or a file."""

    def __init__(self, pfn, file, index):
        self.pfn = pfn
        self.file = file  # None: anonymous
        self.index = index  # page of the file, or of the task
        self.entry = None  # the page table entry that maps it
        self.slot = None  # in swap cache
        self.active = self.referenced = self.workingset = False
        self.dirty = self.writeback = self.reclaim = self.locked = False
        self.pinned = False
        self.waiter = None
        self.request = None  # the write of which it is the last page

    @property
    def kind(self):
        return "file" if self.file else "anon"

    @property
    def lru(self):
        return (INACTIVE_FILE if self.file else INACTIVE_ANON) + self.active


class Entry:
    """A page table entry: of a page, of the zero page (None), or of a swap slot."""

    def __init__(self, page=None, write=False, dirty=False):
        self.page = page
        self.slot = None
        self.write = write
        self.dirty = dirty
        self.young = True

    @property
    def present(self):
        return self.slot is None


class File:
    def __init__(self, number, device):
        self.number = number
        self.device = device
        self.pages = {}
        self.shadows = {}


class Shadow:
    def __init__(self, age, workingset):
        self.age = age
        self.workingset = workingset


class TreeNodes:
    """How many radix tree nodes a set of numbers needs: one per 64 neighbours."""

    def __init__(self):
        self.used = Counter()

    def add(self, number):
        self.used[number // SLOTS_PER_NODE] += 1
        return int(self.used[number // SLOTS_PER_NODE] == 1)

    def remove(self, number):
        self.used[number // SLOTS_PER_NODE] -= 1
        return -int(self.used[number // SLOTS_PER_NODE] == 0)


class Slabs:
    """A cache of the kernel's, for objects of one size in bytes: room for 8 of them in a slab of at most 8 pages."""

    def __init__(self, memory, size, spare):
        self.memory = memory
        self.order = min(max((8 * size - 1).bit_length() - 12, 0), 3)
        self.objects = (4096 << self.order) // size
        self.spare = spare  # slabs that may stay empty
        self.used = 0
        self.slabs = []

    def change(self, by):
        """Slabs come and go one at a time."""
        if not by:
            return
        memory = self.memory
        self.used += by
        want = -(-self.used // self.objects)
        if want > len(self.slabs):
            if not memory.zone.ok(self.order, memory.zone.low):
                memory.wake_kswapd(self.order)
            pfn = memory.take_frame(self.order)
            if pfn is not None:
                self.slabs.append(pfn)
                memory.slab_requests.append(self.order)
        elif want + self.spare < len(self.slabs):
            pfn = self.slabs.pop()
            if self.order:
                memory.events["pgfree"] += 1 << self.order
                memory.zone.buddy.free(pfn, self.order)
            else:
                memory.free_frame(pfn)

    def pages(self):
        return len(self.slabs) << self.order


class Memory(Clock):
    """`setting` holds the figures of the machine, see tests/test_reference.py."""

    def __init__(self, setting):
        super().__init__(setting["costs"])
        self.setting = setting
        managed = setting["managed"]
        kb = setting["min_free_kbytes"]
        marks = watermarks(managed, min_free_kbytes(managed) if kb < 0 else kb, setting["scale"])
        self.zone = Zone(setting["start"], managed, setting["free"], marks, setting["high_fraction"])
        self.events = Counter()
        self.lists = [OrderedDict() for _ in range(4)]  # the last key is the head
        self.isolated = set()  # pages that a reclaimer holds, on no list meanwhile
        self.seen_period = None
        self.entries = {}
        self.tables = set()
        self.swap = SwapArea(setting["slots"])
        self.swap_nodes = TreeNodes()
        self.file_nodes = {}
        self.files = []
        self.tree_nodes = Slabs(self, 576, 2)
        self.bios = Slabs(self, 256, 9)
        self.sg_pools = [Slabs(self, 256 << i, 9) for i in range(5)]
        self.slab_requests = []  # their orders
        self.age = 0
        self.cost = {"anon": 0, "file": 0}
        for figures in setting["devices"]:
            self.devices.append(Device(*figures))
        for number in range(setting["files"]):
            self.files.append(File(number + 1, self.devices[-1]))
            self.file_nodes[self.files[-1]] = TreeNodes()

    # ---- frames

    def take_frame(self, order=0):
        pfn = self.zone.buddy.alloc(order) if order else self.zone.alloc()
        if pfn is not None:
            self.events["pgalloc_normal"] += 1 << order
        return pfn

    def free_frame(self, pfn):
        self.events["pgfree"] += 1
        self.zone.free(pfn)

    def every_second(self):
        self.zone.decay()

    # ---- lists

    def lru_add(self, page):
        self.lists[page.lru][page] = None

    def lru_size(self, lru):
        return len(self.lists[lru])

    def seen(self):
        """List sizes and activations by kind as reclaim knows them: a worker sums them up every two seconds."""
        period = self.now // STATS_PERIOD
        if period != self.seen_period:
            self.seen_period = period
            self.seen_sizes = [self.lru_size(lru) for lru in range(4)]
            self.seen_activations = {kind: self.events[f"workingset_activate_{kind}"] for kind in ("anon", "file")}
        return self.seen_sizes, self.seen_activations

    # ---- workingset (6)

    def evict_shadow(self, page):
        shadow = Shadow(self.age, page.workingset)
        self.age += 1
        return shadow

    def refault(self, page, shadow):
        kind = page.kind
        self.events[f"workingset_refault_{kind}"] += 1
        sizes, _ = self.seen()
        rivals = {ACTIVE_FILE} | ({INACTIVE_FILE} if kind == "anon" else set())
        if self.swap.nr_free > 0:
            rivals |= {ACTIVE_ANON} | ({INACTIVE_ANON} if kind == "file" else set())
        if self.age - shadow.age > sum(sizes[lru] for lru in rivals):
            return
        page.active = True
        self.age += 1
        self.events[f"workingset_activate_{kind}"] += 1
        if shadow.workingset:
            page.workingset = True
            self.note_cost(kind, 1, 0)
            self.events[f"workingset_restore_{kind}"] += 1

    def note_cost(self, kind, written, rotated):
        """lru_note_cost (5.3)."""
        if not written and not rotated:
            return
        self.cost[kind] += written * 32 + rotated
        if sum(self.cost.values()) > sum(map(len, self.lists)) // 4:
            for name in self.cost:
                self.cost[name] //= 2

    # ---- page cache

    def add_to_page_cache(self, file, index, pfn):
        page = Page(pfn, file, index)
        file.pages[index] = page
        shadow = file.shadows.pop(index, None)
        if shadow is None:
            self.tree_nodes.change(self.file_nodes[file].add(index))
        else:
            self.refault(page, shadow)
        self.lru_add(page)
        return page

    def read_file_page(self, page):
        self.read(page.file.device, page, (page.file.number << 40) + page.index)

    def read(self, device, page, place):
        page.locked = True
        self.events["pgpgin"] += 4
        self.submit(device, "read", page, place)

    def submit(self, device, way, page, place):
        done = device.submit(way, page, place, self.now)
        self.deadline = min(self.deadline, done)

    # ---- swap cache

    def to_swap_cache(self, page, number):
        slot = self.swap.slots[number]
        if slot.shadow is None:
            self.tree_nodes.change(self.swap_nodes.add(number))
        slot.shadow = None
        slot.page = page
        page.slot = number

    def out_of_swap_cache(self, page):
        """The slot keeps nothing of the page and is freed unless an entry names it."""
        number, page.slot = page.slot, None
        self.swap.slots[number].page = None
        self.tree_nodes.change(self.swap_nodes.remove(number))
        if not self.swap.slots[number].refs:
            self.swap.release(number)

    def free_swap(self, page):
        """try_to_free_swap: a page that nobody has swapped out needs no slot; it has no copy then."""
        if page.slot is not None and not page.writeback and not self.swap.slots[page.slot].refs:
            self.out_of_swap_cache(page)
            page.dirty = True

    def swap_in(self, number, index, pfn):
        """A fresh frame for a slot, in swap cache, its read started."""
        page = Page(pfn, None, index)
        shadow = self.swap.slots[number].shadow
        self.to_swap_cache(page, number)
        if shadow:
            self.refault(page, shadow)
        self.lru_add(page)
        self.events["pswpin"] += 1
        self.read(self.devices[0], page, (1 << 62) + number)
        return page

    def swap_out(self, page):
        """The write is due, but waits for others in the plug of the thread, in one request with its neighbours."""
        page.writeback = True
        self.bios.change(1)
        self.events["nr_vmscan_write"] += 1
        self.events["pswpout"] += 1
        self.events["pgpgout"] += 4
        plug = self.running.plug
        last = plug[-1] if plug else []
        if last and page.slot == last[-1].slot + 1 and len(last) < LONGEST_REQUEST:
            last.append(page)
            return
        if len(plug) == MOST_REQUESTS or len(last) >= LONG_REQUEST:
            self.flush_plug()
        plug.append([page])

    def sg_pool(self, request):
        """The cache that the list of a request's pages comes from: two fit into the request, or one and the list."""
        entries = len(request) - 1
        return self.sg_pools[max((entries - 1).bit_length() - 3, 0)] if entries > 1 else None

    def flush_plug(self):
        for request in self.running.plug:
            for page in request:
                page.request = request if page is request[-1] else None
                if page.request and self.sg_pool(request):
                    self.sg_pool(request).change(1)
                self.submit(self.devices[0], "write", page, (1 << 62) + page.slot)
        self.running.plug.clear()

    def end_io(self, way, page):
        if way == "read":
            page.locked = False
            if page.waiter:
                waiter, page.waiter = page.waiter, None
                self.wake(waiter)
            return
        page.writeback = False
        self.events["nr_written"] += 1
        if page.reclaim:
            page.reclaim = False
            if page in self.lists[page.lru] and not page.dirty and not page.locked:
                del self.lists[page.lru][page]
                page.active = False
                self.lists[page.lru][page] = None
                self.lists[page.lru].move_to_end(page, last=False)
                self.events["pgrotated"] += 1
        self.bios.change(-1)
        if page.request and self.sg_pool(page.request):
            self.sg_pool(page.request).change(-1)
        page.request = None

    # ---- what can be seen from outside

    def pages(self):
        return [page for pages in (*self.lists, self.isolated) for page in pages]

    def vmstat(self):
        out = Counter(self.events)
        pages = self.pages()
        out["nr_free_pages"] = self.zone.nr_free
        for lru, name in enumerate(LRU_NAMES):
            out[f"nr_{name}"] = out[f"nr_zone_{name}"] = self.lru_size(lru)
        cached = sum(page.slot is not None for page in pages)
        out["nr_swapcached"] = cached
        out["nr_file_pages"] = cached + sum(page.file is not None for page in pages)
        out["nr_anon_pages"] = sum(page.entry is not None for page in pages if not page.file)
        out["nr_mapped"] = sum(page.entry is not None for page in pages if page.file)
        out["nr_writeback"] = out["nr_zone_write_pending"] = sum(page.writeback for page in pages)
        out["nr_page_table_pages"] = len(self.tables)
        out["nr_slab_reclaimable"] = self.tree_nodes.pages()
        out["nr_slab_unreclaimable"] = sum(slabs.pages() for slabs in (self.bios, *self.sg_pools))
        return out

    def lru_order(self, lru):
        """Head first: number of the file (0: anonymous) and page."""
        return [(page.file.number if page.file else 0, page.index) for page in reversed(self.lists[lru])]
