"""Slow, readable model of kcompactd on a machine with one zone: moving pages together when memory is fragmented.

Nobody ever asks it for a block there, so it works on its own only, twice a second.
"""

from reference.clock import SECOND
from reference.reclaim import Reclaim

PAGE_BLOCK = 512
CLUSTER = 32  # pages taken at a time, unless a page block is finished
LOOK = SECOND // 2
MAX_DEFER_SHIFT = 6


def block_of(pfn):
    return pfn // PAGE_BLOCK


class Compaction(Reclaim):
    def __init__(self, setting):
        super().__init__(setting)
        self.proactiveness = setting["proactiveness"]
        self.start, self.end = self.zone.buddy.start, self.zone.buddy.end
        self.held_end = self.end - setting["free"]

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

    def finished(self):
        return self.scanners_met() or not self.kswapd.blocked or self.zone_score() <= self.low_mark()

    def look_at(self, frames):
        yield from self.charge(frames * self.costs["reclaim_skip"])

    def isolate_pages(self, whole):
        """Pages of the next page block that has some, off their lists."""
        pfn = self.migrate_pfn
        if pfn < self.held_end:
            end = min(self.held_end, self.free_pfn)
            self.migrate_scanned += end - pfn
            yield from self.look_at(end - pfn)
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
        self.migrate_scanned += self.migrate_pfn - first
        self.events["compact_isolated"] += len(taken)
        yield from self.look_at(looks)
        return taken

    def isolate_frames(self, wanted):
        """Free frames from the end of the zone, one for each page if MIN allows."""
        number = block_of(self.free_pfn)
        pfn = self.free_pfn
        buddy = self.zone.buddy
        while number * PAGE_BLOCK >= self.block_end(self.migrate_pfn):
            first, end, looks = pfn, self.block_end(number * PAGE_BLOCK), 0
            if number * PAGE_BLOCK >= self.held_end and not self.wholly_free(number):
                while pfn < end:
                    looks += 1
                    order = buddy.order_of.get(pfn)
                    if order is None:
                        pfn += 1
                        continue
                    if buddy.nr_free - (1 << order) <= self.zone.min:
                        break
                    buddy.take(pfn)
                    self.free_frames += range(pfn, pfn + (1 << order))
                    self.events["compact_isolated"] += 1 << order
                    pfn += 1 << order
                    if len(self.free_frames) >= wanted:
                        break
                self.free_scanned += pfn - first
                yield from self.look_at(looks)
                if len(self.free_frames) >= wanted or pfn < end:
                    pfn = (number - 1) * PAGE_BLOCK if pfn == end else pfn
                    break
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

    def compact(self):
        self.migrate_pfn, self.free_pfn = self.start, (self.end - 1) // PAGE_BLOCK * PAGE_BLOCK
        self.migrate_scanned = self.free_scanned = 0
        self.free_frames = []
        moved_in = block_of(0)  # the page block that gave pages last; as in the kernel, that of frame 0 at first
        while not self.finished():
            pages = yield from self.isolate_pages(block_of(self.migrate_pfn) == moved_in)
            if pages:
                moved_in = block_of(self.migrate_pfn - 1)
                enough = yield from self.move(pages)
                if not enough and not self.scanners_met():
                    break
        for pfn in self.free_frames:
            self.free_frame(pfn)
        for who in ("compact", "compact_daemon"):
            self.events[f"{who}_migrate_scanned"] += self.migrate_scanned
            self.events[f"{who}_free_scanned"] += self.free_scanned

    def kcompactd_main(self):
        wait = LOOK
        while True:
            yield from self.sleep(wait if self.proactiveness else None)
            wait = LOOK
            before = self.node_score()
            if self.kswapd.blocked and before > min(self.low_mark() + 10, 100):
                yield from self.compact()
                if self.node_score() >= before:
                    wait <<= MAX_DEFER_SHIFT
