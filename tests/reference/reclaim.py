"""Slow, readable model of page reclaim: what is scanned, the fate of each page, kswapd and direct reclaim."""

from collections import Counter
from itertools import islice
from math import isqrt

from reference.clock import SECOND
from reference.memory import ACTIVE_ANON, ACTIVE_FILE, INACTIVE_ANON, INACTIVE_FILE, Memory

BATCH = 32  # SWAP_CLUSTER_MAX
TOP_PRIORITY = 12
MAX_FAILURES = 16
NR_REQUESTS = 256


class Control:
    """scan_control: what one reclaimer wants and has reached."""

    def __init__(self, kswapd, goal=0):
        self.kswapd = kswapd
        self.goal = goal
        self.priority = TOP_PRIORITY
        self.may_writepage = False
        self.scanned = self.reclaimed = 0
        self.taken = self.writeback = self.immediate = 0
        self.force_deactivate = self.skipped_deactivate = False
        self.cache_trim_mode = self.cache_trim_failed = self.no_cache_trim_mode = False
        self.file_is_tiny = False
        self.deactivate = set()


def inactive_is_low(inactive, active):
    gigabytes = (inactive + active) >> 18
    return inactive * (isqrt(10 * gigabytes) if gigabytes else 1) < active


def stop_rule(target, left):
    """The goal is met: go on with the type that has more left, as far as the other one was scanned (5.4)."""
    anon, file = left[0] + left[1], left[2] + left[3]
    drop, keep, rest = ((0, 1), (2, 3), anon) if file > anon else ((2, 3), (0, 1), file)
    percent = rest * 100 // (sum(target[i] for i in drop) + 1)
    for lru in drop:
        left[lru] = 0
    for lru in keep:
        scanned = target[lru] - left[lru]
        left[lru] = max(0, target[lru] * (100 - percent) // 100 - scanned)


class Reclaim(Memory):
    def __init__(self, setting):
        super().__init__(setting)
        self.swappiness = setting["swappiness"]
        self.refaults = {"anon": 0, "file": 0}
        self.failures = 0
        self.node_writeback = False
        self.kswapd = None
        self.kswapd_sleeping = self.kswapd_woken = False
        self.kswapd_order = 0  # of the largest block that somebody missed

    # ---- how much of what (5)

    def low(self, kind):
        inactive, active = (INACTIVE_ANON, ACTIVE_ANON) if kind == "anon" else (INACTIVE_FILE, ACTIVE_FILE)
        sizes, _ = self.seen()
        return inactive_is_low(sizes[inactive], sizes[active])

    def prepare(self, sc):
        sizes, activations = self.seen()
        sc.deactivate = {
            kind for kind in ("anon", "file")
            if sc.force_deactivate or self.low(kind)
            or activations[kind] != self.refaults[kind]
        }  # fmt: skip
        sc.cache_trim_mode = (
            sizes[INACTIVE_FILE] >> sc.priority > 0 and "file" not in sc.deactivate and not sc.no_cache_trim_mode
        )
        file = self.lru_size(INACTIVE_FILE) + self.lru_size(ACTIVE_FILE)
        sc.file_is_tiny = (
            file + self.zone.nr_free <= self.zone.high
            and "anon" not in sc.deactivate
            and self.lru_size(INACTIVE_ANON) >> sc.priority > 0
        )

    def scan_count(self, sc):
        scan = [self.lru_size(lru) >> sc.priority for lru in range(4)]
        if self.swap.nr_free <= 0:
            return [0, 0, *scan[2:]]
        if sc.priority == 0 and self.swappiness:
            return scan
        if sc.file_is_tiny:
            return [*scan[:2], 0, 0]
        if sc.cache_trim_mode:
            return [0, 0, *scan[2:]]
        both = self.cost["anon"] + self.cost["file"]
        anon_cost, file_cost = both + self.cost["anon"], both + self.cost["file"]
        total = anon_cost + file_cost + 1
        anon = self.swappiness * total // (anon_cost + 1)
        file = (200 - self.swappiness) * total // (file_cost + 1)
        return [n * (anon if lru < 2 else file) // (anon + file) for lru, n in enumerate(scan)]

    # ---- scanning (4)

    def isolate(self, lru, most):
        pages = list(islice(self.lists[lru], most))
        for page in pages:
            del self.lists[lru][page]
        self.isolated.update(pages)
        return pages

    def put_back(self, page):
        self.isolated.remove(page)
        self.lru_add(page)

    @staticmethod
    def take_young(page):
        young = page.entry is not None and page.entry.young
        if young:
            page.entry.young = False
        return young

    def activate(self, page, did):
        if page.slot is not None and self.swap.full:
            self.free_swap(page)
        page.active = True
        did["activated"] += 1

    def unmap(self, page):
        entry, page.entry = page.entry, None
        page.dirty |= entry.dirty
        if page.file:
            del self.entries[self.vpn_of(page)]
            return
        entry.page, entry.slot = None, page.slot
        self.swap.slots[page.slot].refs += 1

    def evict(self, page):
        """__remove_mapping: True if the page is free now."""
        if page.pinned or page.dirty or page.writeback or page.locked:
            return False
        if page.file:
            del page.file.pages[page.index]
            page.file.shadows[page.index] = self.evict_shadow(page)
        elif self.swap.slots[page.slot].refs:
            slot = self.swap.slots[page.slot]
            slot.page, slot.shadow = None, self.evict_shadow(page)
        else:
            self.out_of_swap_cache(page)
        self.isolated.remove(page)
        self.free_frame(page.pfn)
        return True

    def shrink_page(self, sc, page, did):
        """True if the page is free now; if not, its `active` says where it goes (4.10)."""
        if page.locked:
            return False
        sc.scanned += 1
        if page.pinned:
            return False
        if page.writeback:
            if sc.kswapd and page.reclaim and self.node_writeback:
                sc.immediate += 1
            else:
                page.reclaim = True
                sc.writeback += 1
            self.activate(page, did)
            return False
        young, before, page.referenced = self.take_young(page), page.referenced, False
        if young:
            page.referenced = True
            if before:
                self.activate(page, did)
            return False
        if not page.file and page.slot is None:
            number = self.swap.alloc()
            if number is None:
                self.activate(page, did)
                return False
            self.to_swap_cache(page, number)
            page.dirty = True
        if page.entry is not None:
            did["unmapped"] += 1
            self.unmap(page)
        if page.dirty:
            if not sc.may_writepage:
                return False
            page.dirty = False
            page.reclaim = True
            self.swap_out(page)
            did["written"] += 1
            return False
        return self.evict(page)

    def shrink_inactive(self, sc, lru, most):
        who, kind = "kswapd" if sc.kswapd else "direct", "file" if lru >= 2 else "anon"
        pages = self.isolate(lru, most)
        self.events[f"pgscan_{who}"] += len(pages)
        self.events[f"pgscan_{kind}"] += len(pages)
        if not pages:
            return 0
        did = Counter()
        kept = []
        for page in pages:
            unmapped = did["unmapped"]
            cached = page.file is not None and page.entry is None
            free = self.shrink_page(sc, page, did)
            if not free:
                kept.append(page)
            looked = self.costs["reclaim_scan"] + free * self.costs["reclaim_free"]
            unmapping = (did["unmapped"] - unmapped) * self.costs["reclaim_unmap"]
            yield from self.charge((self.costs["reclaim_cache"] if cached else looked) + unmapping)
        for page in kept:
            self.age += page.active
            self.put_back(page)
        freed = len(pages) - len(kept)
        self.events["pgactivate"] += did["activated"]
        self.events[f"pgsteal_{who}"] += freed
        self.events[f"pgsteal_{kind}"] += freed
        self.note_cost(kind, did["written"], len(kept))
        sc.taken += len(pages)
        if did["unmapped"]:
            yield from self.charge(self.costs["tlb_flush"])
        return freed

    def shrink_active(self, lru, most):
        """Referenced or not, they become inactive; none of them is code (4.5)."""
        pages = self.isolate(lru, most)
        self.events["pgrefill"] += len(pages)
        self.events["pgdeactivate"] += len(pages)
        for page in pages:
            self.take_young(page)
            page.active = False
            page.workingset = True
            self.put_back(page)
        yield from self.charge(len(pages) * self.costs["reclaim_scan"])

    def age_anon(self):
        if self.swap.total and self.low("anon"):
            yield from self.shrink_active(ACTIVE_ANON, BATCH)

    def shrink_lruvec(self, sc):
        left = self.scan_count(sc)
        target = list(left)
        proportional = not sc.kswapd and sc.priority == TOP_PRIORITY
        reclaimed = 0
        begin = (INACTIVE_ANON, INACTIVE_FILE, ACTIVE_FILE, *((ACTIVE_ANON,) if sc.priority == 0 else ()))
        while any(left[lru] for lru in begin):
            for lru in range(4):
                most = min(left[lru], BATCH)
                left[lru] -= most
                if most and lru in (INACTIVE_ANON, INACTIVE_FILE):
                    reclaimed += yield from self.shrink_inactive(sc, lru, most)
                elif most and ("file" if lru == ACTIVE_FILE else "anon") in sc.deactivate:
                    yield from self.shrink_active(lru, most)
                elif most:
                    sc.skipped_deactivate = True
            if reclaimed < sc.goal or proportional:
                continue
            if left[0] + left[1] == 0 or left[2] + left[3] == 0:
                break
            stop_rule(target, left)
        self.flush_plug()
        sc.reclaimed += reclaimed
        yield from self.age_anon()

    def shrink_node(self, sc):
        before = sc.reclaimed
        sc.taken = sc.writeback = sc.immediate = 0
        yield from self.charge(self.costs["reclaim_pass"])
        self.prepare(sc)
        yield from self.shrink_lruvec(sc)
        for device in self.devices:
            writes = [done for done, _ in device.flying["write"]]
            if len(writes) > NR_REQUESTS and writes[-NR_REQUESTS - 1] > self.now:
                yield from self.sleep(writes[-NR_REQUESTS - 1] - self.now)
        if sc.kswapd:
            if sc.writeback and sc.writeback == sc.taken:
                self.node_writeback = True
            if sc.immediate:
                yield from self.throttle_on_writeback()
        if sc.reclaimed > before:
            self.failures = 0
        elif sc.cache_trim_mode:
            sc.cache_trim_failed = True

    # ---- throttling (4.12)

    def jiffy(self):
        return SECOND // self.setting["hz"]

    def reclaimable(self):
        """zone_reclaimable_pages (2.7)."""
        file = self.lru_size(INACTIVE_FILE) + self.lru_size(ACTIVE_FILE)
        anon = self.lru_size(INACTIVE_ANON) + self.lru_size(ACTIVE_ANON)
        return file + (anon if self.swap.nr_free > 0 else 0) or self.zone.nr_free

    def throttle_on_writeback(self):
        before, waited = self.events["nr_written"], 0
        while waited < SECOND // 10 and self.events["nr_written"] - before <= BATCH:
            yield from self.sleep(self.jiffy())
            waited += self.jiffy()

    def throttle_without_progress(self):
        pending = sum(page.writeback for page in self.pages())
        if self.failures < MAX_FAILURES and 2 * pending > self.reclaimable():
            yield from self.sleep(self.jiffy())

    def snapshot_refaults(self):
        _, activations = self.seen()
        self.refaults = dict(activations)

    # ---- direct reclaim (3.5, 4.13)

    def enough_for_reclaimers(self):
        reserve = self.zone.min if self.reclaimable() else 0
        return self.failures >= MAX_FAILURES or not reserve or self.zone.nr_free > reserve // 2

    def direct_reclaim(self, zone_name):
        """Pages reclaimed, at least 32 if possible."""
        if not self.enough_for_reclaimers():
            self.wake_kswapd()
            self.events["pgscan_direct_throttle"] += 1
            yield from self.sleep(SECOND // 1000)
            while not self.enough_for_reclaimers():
                if self.kswapd_sleeping:
                    self.rouse_kswapd()
                yield from self.sleep(SECOND // 1000)
        sc = Control(kswapd=False, goal=BATCH)
        sc.may_writepage = True
        walked = False
        while True:
            self.events[f"allocstall_{zone_name}"] += 1
            for sc.priority in range(TOP_PRIORITY, -1, -1):
                sc.scanned = 0
                yield from self.shrink_node(sc)
                if sc.priority == 1 and sc.reclaimed == 0:
                    yield from self.throttle_without_progress()
                if sc.reclaimed >= sc.goal:
                    break
            self.snapshot_refaults()
            if sc.reclaimed:
                return sc.reclaimed
            if walked:  # in vain through one control group after the other, and then through all of them
                if not sc.skipped_deactivate:
                    return 0
                sc.force_deactivate, sc.skipped_deactivate = True, False
            walked = True

    # ---- kswapd (3)

    def balanced(self, order):
        return self.zone.ok(order, self.zone.high)

    def wake_kswapd(self, order=0):
        self.kswapd_order = max(self.kswapd_order, order)
        if self.kswapd_sleeping and self.failures < MAX_FAILURES and not self.balanced(order):
            self.rouse_kswapd()

    def rouse_kswapd(self):
        self.kswapd_sleeping = False
        self.kswapd_woken = True
        self.wake(self.kswapd)

    def may_sleep(self, order):
        if self.failures >= MAX_FAILURES:
            return True
        if self.balanced(order):
            self.node_writeback = False
            return True
        return False

    def kswapd_main(self):
        wanted = reached = 0
        while True:
            yield from self.kswapd_sleep(wanted, reached)
            wanted, self.kswapd_order = self.kswapd_order, 0
            reached = yield from self.balance(wanted)
            if reached >= wanted:
                wanted = reached = self.kswapd_order

    def kswapd_sleep(self, wanted, reached):
        """After a run for a block of order `wanted`, which went on for one of `reached`."""
        how = "high"
        if self.may_sleep(reached):
            self.wake_kcompactd(wanted)
            self.kswapd_sleeping, self.kswapd_woken = True, False
            yield from self.sleep(SECOND // 10)
            self.kswapd_sleeping = False
            if self.kswapd_woken:
                how = "low"
                self.kswapd_order = max(self.kswapd_order, reached)
            elif self.may_sleep(reached):
                self.kswapd_sleeping = True
                yield from self.sleep()
                self.kswapd_sleeping = False
                return
        self.events[f"kswapd_{how}_wmark_hit_quickly"] += 1

    def balance(self, order):
        """balance_pgdat (3.4). The order it went on for: single pages are enough once it has reclaimed some."""
        sc = Control(kswapd=True, goal=max(self.zone.high, BATCH))
        self.events["pageoutrun"] += 1
        balanced = False
        while True:
            self.zone.reclaim_active = True
            sc.priority = TOP_PRIORITY
            while sc.priority >= 1:
                balanced = self.balanced(order)
                if balanced:
                    break
                sc.may_writepage = True
                yield from self.age_anon()
                sc.scanned, before = 0, sc.reclaimed
                yield from self.shrink_node(sc)
                if order and sc.reclaimed >= 2 << order:
                    order = 0
                freed = sc.reclaimed - before
                if max(sc.scanned, freed) < sc.goal or not freed:
                    sc.priority -= 1
            if balanced or sc.reclaimed or not sc.cache_trim_failed or sc.no_cache_trim_mode:
                break
            sc.no_cache_trim_mode = True
        if not sc.reclaimed and not balanced:
            self.failures += 1
        self.zone.reclaim_active = False
        self.snapshot_refaults()
        return order
