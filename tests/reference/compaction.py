"""Slow, readable model of kcompactd on a machine with one zone: moving pages together when memory is fragmented.

It looks on its own, twice a second, and is asked for a block by kswapd when somebody missed one.
"""

from reference.clock import SECOND
from reference.reclaim import Reclaim

PAGE_BLOCK = 512
CLUSTER = 32  # pages taken at a time, unless a page block is finished
LOOK = SECOND // 2
MAX_DEFER_SHIFT = 6
EXTFRAG_THRESHOLD = 500
KERNEL_IMAGE = 3584


def block_of(pfn):
    return pfn // PAGE_BLOCK


class Compaction(Reclaim):
    def __init__(self, setting):
        super().__init__(setting)
        self.proactiveness = setting["proactiveness"]
        self.start, self.end = self.zone.buddy.start, self.zone.buddy.end
        self.held_end = self.end - setting["free"]
        self.kcompactd = None
        self.kcompactd_waits = False
        self.wanted_order = 0
        self.cached_migrate, self.cached_free = self.start, None  # where a search for a block goes on
        self.considered = self.defer_shift = self.failed_order = 0

    # ---- how fragmented free memory is

    def zone_score(self):
        blocks = self.zone.buddy.free_area()
        free = sum(n << order for order, n in enumerate(blocks))
        huge = sum(n << order for order, n in enumerate(blocks) if order >= 9)
        return (free - huge) * 100 // free if free else 0

    def node_score(self):
        present = self.setting["managed"]
        return present * self.zone_score() // (present + 1)

    def low_mark(self):
        return max(100 - self.proactiveness, 5)

    def suitable(self, order):
        """Is there no block of `order` yet, but room to move pages, and is it fragmentation that is in the way?"""
        if self.zone.ok(order, self.zone.min) or not self.zone.ok(0, self.zone.low + (2 << order)):
            return False
        blocks = self.zone.buddy.free_area()
        if any(blocks[order:]):
            return True
        free, smaller = self.zone.nr_free, sum(blocks[:order])
        index = 1000 - (1000 + free * 1000 // (1 << order)) // smaller if smaller else 0
        return not 0 <= index <= EXTFRAG_THRESHOLD

    def wholly_free(self, number):
        """Is all of a page block free, as part of a block that is as large, or of one twice as large?"""
        orders = self.zone.buddy.order_of
        first, pair = number * PAGE_BLOCK, number // 2 * 2 * PAGE_BLOCK
        return orders.get(first, 0) >= 9 or orders.get(pair, 0) == 10

    # ---- the scanners

    def block_end(self, pfn):
        return min((block_of(pfn) + 1) * PAGE_BLOCK, self.end)

    def scanners_met(self):
        return block_of(self.free_pfn) <= block_of(self.migrate_pfn)

    def finished(self, order):
        """None while it goes on; else whether it was of use."""
        if self.scanners_met():
            self.cached_migrate, self.cached_free = self.start, None
            return False
        if order is None:
            return False if not self.kswapd.blocked or self.zone_score() <= self.low_mark() else None
        if self.migrate_pfn % PAGE_BLOCK:
            return None
        return True if any(self.zone.buddy.lists[order:]) else None

    def look_at(self, frames):
        yield from self.charge(frames * self.costs["reclaim_skip"])

    def isolate_pages(self, whole):
        """Pages of the next page block that has some, off their lists."""
        pfn = self.migrate_pfn
        if pfn < self.held_end:
            end = min(self.held_end, self.free_pfn)
            image = min(end - pfn, KERNEL_IMAGE)
            self.migrate_scanned += image
            yield from self.look_at(image)
            pfn = end
        while self.block_end(pfn) <= self.free_pfn and self.wholly_free(block_of(pfn)):
            pfn = self.block_end(pfn)
        end = self.block_end(pfn)
        if end > self.free_pfn:
            self.migrate_pfn = self.free_pfn
            return []
        at = {page.pfn: page for pages in self.lists for page in pages}
        taken, first, looks = [], pfn, 0
        while pfn < end and (whole or len(taken) < CLUSTER):
            looks += 1
            page = at.get(pfn)
            pfn += 1 << self.zone.buddy.order_of.get(pfn, 0)
            if page and not page.writeback:
                del self.lists[page.lru][page]
                self.isolated.add(page)
                taken.append(page)
        self.migrate_pfn = min(pfn, end)
        if self.migrate_pfn == end and (whole or not taken):
            self.cached_migrate = max(self.cached_migrate, end)
        self.migrate_scanned += self.migrate_pfn - first
        self.events["compact_isolated"] += len(taken)
        yield from self.look_at(looks)
        return taken

    def isolate_frames(self, wanted):
        """Free frames from the end of the zone, one for each page if MIN allows. After each page block without any it
        looks at half as many frames, up to one in 32."""
        number, stride = block_of(self.free_pfn), 1
        pfn = self.free_pfn
        buddy = self.zone.buddy
        while number * PAGE_BLOCK >= self.block_end(self.migrate_pfn):
            end, looks, before = self.block_end(number * PAGE_BLOCK), 0, len(self.free_frames)
            if number * PAGE_BLOCK >= self.held_end and not self.wholly_free(number):
                while pfn < end:
                    looks += 1
                    order = buddy.order_of.get(pfn)
                    if order is None:
                        pfn += stride
                        continue
                    if buddy.nr_free - (1 << order) <= self.zone.min:
                        break
                    buddy.take(pfn)
                    self.free_frames += range(pfn, pfn + (1 << order))
                    self.events["compact_isolated"] += 1 << order
                    self.free_scanned += (1 << order) - 1
                    pfn += 1 << order
                    if len(self.free_frames) >= wanted:
                        break
                    pfn += stride - 1
                pfn = min(pfn, end)
                self.free_scanned += looks
                yield from self.look_at(looks)
                if len(self.free_frames) >= wanted or pfn < end:
                    pfn = (number - 1) * PAGE_BLOCK if pfn == end else pfn
                    break
                stride = 1 if len(self.free_frames) > before else min(2 * stride, CLUSTER)
            number -= 1
            pfn = number * PAGE_BLOCK
        self.free_pfn = pfn

    def move(self, pages):
        """The last one first. False: there are no more frames, and all that are left have gone back to their lists."""
        back, enough = [], True
        for page in reversed(pages):
            if enough and not self.free_frames:
                yield from self.isolate_frames(len(pages))
                enough = bool(self.free_frames)
                self.events["pgmigrate_fail"] += not enough
            if not enough:
                back.append(page)
            elif page.locked or page.writeback or page.pinned:
                self.events["pgmigrate_fail"] += 1
                back.append(page)
            else:
                old, page.pfn = page.pfn, self.free_frames.pop()
                self.free_frame(old)
                self.put_back(page)
                self.events["pgmigrate_success"] += 1
                yield from self.charge(self.costs["migrate"])
        for page in back:
            self.put_back(page)
        return enough

    def compact(self, order=None):
        """Until a block of `order` is there, or memory is less fragmented. True: there is; False: in vain; None: frames
        ran out."""
        self.migrate_pfn, self.free_pfn = self.start, (self.end - 1) // PAGE_BLOCK * PAGE_BLOCK
        if order is not None:
            self.migrate_pfn = self.cached_migrate
            self.free_pfn = self.cached_free if self.cached_free is not None else self.free_pfn
        self.migrate_scanned = self.free_scanned = 0
        self.free_frames = []
        moved_in = block_of(0)  # the page block that gave pages last; as in the kernel, that of frame 0 at first
        result = self.finished(order)
        while result is None:
            pages = yield from self.isolate_pages(block_of(self.migrate_pfn) == moved_in)
            if pages:
                moved_in = block_of(self.migrate_pfn - 1)
                enough = yield from self.move(pages)
                if not enough and not self.scanners_met():
                    break
            result = self.finished(order)
        for pfn in self.free_frames:
            self.free_frame(pfn)
        if order is not None and not (result is False and self.scanners_met()):
            self.cached_free = max(self.start, self.free_pfn // PAGE_BLOCK * PAGE_BLOCK)
        for who in ("compact", "compact_daemon"):
            self.events[f"{who}_migrate_scanned"] += self.migrate_scanned
            self.events[f"{who}_free_scanned"] += self.free_scanned
        return result

    def deferred(self, order):
        """After failures attempts are left out, up to 64 in a row."""
        if order < self.failed_order:
            return False
        self.considered += 1
        if self.considered >= 1 << self.defer_shift:
            self.considered = 1 << self.defer_shift
            return False
        return True

    def make_block(self):
        """kcompactd_do_work."""
        order = self.wanted_order
        self.events["compact_daemon_wake"] += 1
        if not self.deferred(order) and self.suitable(order):
            result = yield from self.compact(order)
            if result:
                self.failed_order = max(self.failed_order, order + 1)
            elif result is False:
                self.zone.drain()
                self.considered = 0
                self.defer_shift = min(self.defer_shift + 1, MAX_DEFER_SHIFT)
                self.failed_order = min(self.failed_order, order)
        if self.wanted_order <= order:
            self.wanted_order = 0

    def wake_kcompactd(self, order):
        self.wanted_order = max(self.wanted_order, order)
        if self.kcompactd_waits and order and self.suitable(self.wanted_order):
            self.kcompactd_waits = False
            self.wake(self.kcompactd)

    def kcompactd_main(self):
        wait = LOOK // 2
        while True:
            if not self.wanted_order:
                self.kcompactd_waits = True
                yield from self.sleep(wait if self.proactiveness else None)
                self.kcompactd_waits = False
            wait = LOOK
            if self.wanted_order:
                yield from self.make_block()
                continue
            before = self.node_score()
            if self.kswapd.blocked and before > min(self.low_mark() + 10, 100):
                yield from self.compact()
                if self.node_score() >= before:
                    wait <<= MAX_DEFER_SHIFT
