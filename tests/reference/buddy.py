"""Slow, readable model of one zone: free blocks by order, and the list of one CPU in front of them.

A free list is a deque whose left end is its head. Frames are given and taken one at a time, as the kernel does.
"""

from collections import deque
from math import isqrt

ORDERS = 11


def clamp(value, low, high):
    return max(low, min(value, high))


def min_free_kbytes(managed):
    """calculate_min_free_kbytes for a machine of `managed` pages of lowmem."""
    return clamp(isqrt(managed * 4 * 16), 128, 262144)


def watermarks(managed, min_free_kb, scale):
    """MIN, LOW and HIGH of the only zone of a machine."""
    least = min_free_kb // 4
    gap = max(least // 4, managed * scale // 10000)
    return least, least + gap, least + 2 * gap


def batch_size(managed):
    b = max(1, min(managed // 1024, 256) // 4)
    b += b // 2
    return max(1, (1 << (b.bit_length() - 1)) - 1)


class Buddy:
    """Free blocks of the frames [start, end), of which [free_from, end) are free at first."""

    def __init__(self, start, end, free_from):
        self.start, self.end = start, end
        self.lists = [deque() for _ in range(ORDERS)]
        self.order_of = {}  # free block -> its order
        self.nr_free = end - free_from
        pfn = free_from
        while pfn < end:
            order = 0
            while order < ORDERS - 1 and pfn % (2 << order) == 0 and pfn + (2 << order) <= end:
                order += 1
            self.order_of[pfn] = order
            if order == ORDERS - 1:
                self.lists[order].append(pfn)  # the largest blocks are used from low to high addresses
            else:
                self.lists[order].appendleft(pfn)
            pfn += 1 << order

    def alloc(self, order):
        """First frame of a block, the upper halves of a larger one going back; None if there is none."""
        found = next((o for o in range(order, ORDERS) if self.lists[o]), None)
        if found is None:
            return None
        pfn = self.lists[found].popleft()
        del self.order_of[pfn]
        for half in range(found - 1, order - 1, -1):
            self.insert(pfn + (1 << half), half)
        self.nr_free -= 1 << order
        return pfn

    def take(self, pfn):
        """The free block that begins there."""
        order = self.order_of.pop(pfn)
        self.lists[order].remove(pfn)
        self.nr_free -= 1 << order

    def insert(self, pfn, order):
        self.lists[order].appendleft(pfn)
        self.order_of[pfn] = order

    def free(self, pfn, order):
        self.nr_free += 1 << order
        while order < ORDERS - 1:
            buddy = pfn ^ (1 << order)
            if self.order_of.get(buddy) != order:
                break
            self.lists[order].remove(buddy)
            del self.order_of[buddy]
            pfn = min(pfn, buddy)
            order += 1
        self.insert(pfn, order)

    def free_area(self):
        return [len(blocks) for blocks in self.lists]


class Zone:
    """A zone of a machine with one CPU: the buddy, the watermarks, and the CPU's list (left end: hot)."""

    def __init__(self, start, managed, free, marks, high_fraction=0):
        self.buddy = Buddy(start, start + managed, start + managed - free)
        self.min, self.low, self.high = marks
        self.batch = batch_size(managed)
        low_mark, most = (managed // high_fraction,) * 2 if high_fraction else (self.low, managed // 8)
        self.high_max = max(most, 4 * self.batch)
        self.high_min = min(max(low_mark, 4 * self.batch), self.high_max)
        self.pcp = deque()
        self.pcp_high = self.high_min
        self.alloc_factor = self.free_count = 0
        self.reclaim_active = False
        self.below_high = False

    @property
    def nr_free(self):
        return self.buddy.nr_free

    def ok(self, order, mark):
        """Is a request of `order` allowed to leave the zone at `mark` (zone_watermark_ok)?"""
        return self.nr_free - ((1 << order) - 1) > mark and (order == 0 or any(self.buddy.lists[order:]))

    def alloc(self):
        """One frame; None if the zone has none."""
        if not self.pcp:
            for _ in range(self.refill_size()):
                pfn = self.buddy.alloc(0)
                if pfn is None:
                    break
                self.pcp.append(pfn)
        self.free_count >>= 1
        return self.pcp.popleft() if self.pcp else None

    def refill_size(self):
        """Batches double while nothing is freed in between; the list may grow while memory is plenty."""
        size = self.batch << self.alloc_factor
        if self.high_min != self.high_max and not self.below_high:
            self.pcp_high = min(self.pcp_high + size, self.high_max)
        room = max(self.pcp_high - len(self.pcp) - self.batch, self.batch)
        if size <= room:
            self.alloc_factor = min(self.alloc_factor + 1, 5)
        return min(size, room)

    def list_limit(self):
        """Length from which the list gives pages back; it follows how many are freed in a row."""
        high = self.pcp_high
        lower = max(high - max(self.free_count, self.batch), self.high_min)
        if self.reclaim_active:
            self.pcp_high = lower
            return min(4 * self.batch, lower)
        if self.high_min == self.high_max:
            return high
        if self.below_high:
            self.pcp_high = lower
            return max(len(self.pcp), self.high_min)
        if len(self.pcp) >= high:
            self.pcp_high = min(max(high, self.free_count + self.batch), self.high_max)
        return high

    def free(self, pfn):
        """A frame goes to the list; what is too much there goes to the buddy, coldest first."""
        self.pcp.appendleft(pfn)
        self.alloc_factor >>= 1
        self.free_count += self.free_count < self.batch << 5
        high = self.list_limit()
        if len(self.pcp) < high:
            return
        for _ in range(clamp(self.free_count, self.batch, max(high - self.batch, self.batch))):
            if self.pcp:
                self.buddy.free(self.pcp.pop(), 0)
        if self.nr_free > self.high:
            self.below_high = False

    def decay(self):
        """Once a second the list may be an eighth shorter, and what is beyond that goes."""
        if self.pcp_high > self.high_min:
            eighth_less = self.pcp_high - self.pcp_high // 8
            self.pcp_high = max(len(self.pcp) - self.batch * 32, eighth_less, self.high_min)
        while len(self.pcp) > self.pcp_high:
            self.buddy.free(self.pcp.pop(), 0)

    def drain(self):
        while self.pcp:
            self.buddy.free(self.pcp.pop(), 0)
