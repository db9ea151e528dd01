"""Slow, readable model of the allocator's slow path, of page faults, and of a task that causes them."""

from reference.clock import Thread
from reference.compaction import Compaction
from reference.memory import Entry, Page

PTRS_PER_TABLE = 512
MAX_RETRIES = 16


class Machine(Compaction):
    """One task over regions of pages: anonymous ones and, read only, whole files.

    `regions` are (pages, file number or 0) in the order of the task's page numbers; `records` are
    (page, write). `run` returns "chunk" when the task wants records, at first and at the end, or "oom".
    """

    def __init__(self, setting, regions, records):
        super().__init__(setting)
        self.regions = []
        start = 0
        for pages, number in regions:
            self.regions.append((start, start + pages, self.files[number - 1] if number else None))
            start += pages
        self.kswapd = Thread("kswapd", self.kswapd_main())
        self.wake(self.kswapd)
        self.kcompactd = Thread("kcompactd", self.kcompactd_main())
        self.wake(self.kcompactd)
        if self.files:
            self.wake(Thread("flusher", self.flusher_main()))
        self.wake(Thread("task", self.task_main(records)))

    def vpn_of(self, page):
        start = next(start for start, _, file in self.regions if file is page.file)
        return start + page.index

    def flusher_main(self):
        """Nothing is ever dirty, but it looks."""
        while True:
            yield from self.sleep(self.setting["writeback_ns"])

    # ---- allocation (2.6, 2.7)

    def get_page(self, mark):
        """A frame if more than `mark` would stay free; the first test is at HIGH, for the per-CPU list."""
        if not self.zone.below_high:
            if self.zone.nr_free > self.zone.high:
                return self.take_frame()
            self.zone.below_high = True
        return self.take_frame() if self.zone.nr_free > mark else None

    def alloc(self, zone_name="movable"):
        zone = self.zone
        pfn = self.get_page(zone.low)
        if pfn is not None:
            return pfn
        if self.kswapd_sleeping:
            self.now += self.costs["wakeup"]
        self.wake_kswapd()
        pfn = self.get_page(zone.min)
        fruitless = 0
        while pfn is None:
            self.wake_kswapd()
            pfn = self.get_page(zone.min)
            if pfn is not None:
                break
            progress = yield from self.direct_reclaim(zone_name)
            if progress:
                pfn = self.get_page(zone.min)
                if pfn is None:
                    zone.drain()
                    pfn = self.get_page(zone.min)
                if pfn is not None:
                    break
            fruitless = 0 if progress else fruitless + 1
            if fruitless <= MAX_RETRIES and zone.nr_free + self.reclaimable() > zone.min:
                continue
            pfn = self.get_page(zone.high)
            if pfn is None:
                yield "oom"
        return pfn

    # ---- faults (1)

    def alloc_tables(self, vpn):
        leaf = vpn // PTRS_PER_TABLE
        for table in (("leaf", leaf), ("middle", leaf // PTRS_PER_TABLE)):
            if table not in self.tables:
                yield from self.alloc("normal")
                self.tables.add(table)

    def map(self, vpn, page, write=False, dirty=False):
        self.entries[vpn] = page.entry = Entry(page, write, dirty)

    def wait_for(self, page):
        page.pinned = True
        while page.locked:
            page.waiter = self.running
            yield from self.sleep()
        page.pinned = False

    def fault(self, vpn, write):
        self.events["pgfault"] += 1
        if not self.entries.get(vpn):
            yield from self.alloc_tables(vpn)
        entry = self.entries.get(vpn)
        if entry is None:
            start, _, file = next(region for region in self.regions if vpn < region[1])
            if file:
                yield from self.file_fault(vpn, file, vpn - start)
            else:
                yield from self.anon_fault(vpn, write)
        elif entry.slot is not None:
            yield from self.swap_fault(vpn, entry, write)
        else:
            # a store to the zero page; pages of our own are always writable
            yield from self.new_anon_page(vpn)
            yield from self.charge(self.costs["cow_fault"])

    def new_anon_page(self, vpn):
        page = Page((yield from self.alloc()), None, vpn)
        self.lru_add(page)
        self.map(vpn, page, write=True, dirty=True)

    def anon_fault(self, vpn, write):
        if write:
            yield from self.new_anon_page(vpn)
            yield from self.charge(self.costs["anon_fault"])
        else:
            self.entries[vpn] = Entry()
            yield from self.charge(self.costs["zero_page_fault"])

    def file_fault(self, vpn, file, index):
        """Without readahead and fault-around."""
        if index not in file.pages:
            self.events["pgmajfault"] += 1
            pfn = yield from self.alloc()
            yield from self.charge(self.costs["page_cache_add"])
            self.read_file_page(self.add_to_page_cache(file, index, pfn))
        page = file.pages[index]
        yield from self.wait_for(page)
        self.map(vpn, page)
        yield from self.charge(self.costs["file_minor_fault"])

    def swap_fault(self, vpn, entry, write):
        slot = self.swap.slots[entry.slot]
        if slot.page is None:
            pfn = yield from self.alloc()
            self.swap_in(entry.slot, vpn, pfn)
            self.events["pgmajfault"] += 1
        page = slot.page
        yield from self.wait_for(page)
        slot.refs -= 1
        if self.swap.full or write:
            self.free_swap(page)
        self.map(vpn, page, write=True, dirty=write)
        yield from self.charge(self.costs["major_fault"])

    # ---- the task

    def task_main(self, records):
        yield "chunk"
        for vpn, write in records:
            yield from self.look_up()
            entry = self.entries.get(vpn)
            if entry and entry.present and (entry.write or not write):
                entry.young = True
                entry.dirty |= write
            else:
                yield from self.fault(vpn, write)
            self.now += self.setting["access_ns"]
        while True:
            yield "chunk"
