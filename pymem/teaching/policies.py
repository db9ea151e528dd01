"""Replacement policies as textbooks have them, with the reason of every decision in words.

The driver (`textbook`) keeps the frames; a policy keeps what it needs to choose a victim.  It is told of every hit,
of every victim that leaves and of every page that comes in, in this order.  `now` is the number of the access, from 1.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from .references import Page

NEVER = 1 << 62


class Policy:
    """Base: remembers nothing and chooses nothing."""

    name: ClassVar[str]
    meaning: ClassVar[str]

    def __init__(self, frames: int, pages: Sequence[Page], seed: int = 0) -> None:
        self.frames = frames
        self.pages = pages

    def hit(self, page: Page, now: int) -> str:
        """The page was in memory; returns what changes, in words."""
        return ""

    def victim(self, page: Page, now: int) -> tuple[Page, str]:
        """Which page leaves for `page`, and why."""
        raise AssertionError("each policy chooses in its own way")

    def enter(self, page: Page, now: int) -> str:
        """The page is in memory now; returns what is remarkable about it."""
        return ""

    def state(self) -> str:
        """What the policy remembers, for people."""
        return ""


class Fifo(Policy):
    """First in, first out."""

    name, meaning = "fifo", "the page that came in first leaves"

    def __init__(self, frames: int, pages: Sequence[Page], seed: int = 0) -> None:
        super().__init__(frames, pages, seed)
        self.queue: OrderedDict[Page, int] = OrderedDict()  # since when

    def victim(self, page: Page, now: int) -> tuple[Page, str]:
        out, since = self.queue.popitem(last=False)
        return out, f"came in first, at step {since}"

    def enter(self, page: Page, now: int) -> str:
        self.queue[page] = now
        return ""

    def state(self) -> str:
        return "queue " + " ".join(map(str, self.queue))


class Lru(Policy):
    """Least recently used."""

    name, meaning = "lru", "the page not used for longest leaves"
    last: ClassVar[bool] = False  # which end of the order leaves

    def __init__(self, frames: int, pages: Sequence[Page], seed: int = 0) -> None:
        super().__init__(frames, pages, seed)
        self.order: OrderedDict[Page, int] = OrderedDict()  # last use; the latest at the end

    def hit(self, page: Page, now: int) -> str:
        self.order[page] = now
        self.order.move_to_end(page)
        return ""

    def victim(self, page: Page, now: int) -> tuple[Page, str]:
        out, used = self.order.popitem(last=self.last)
        return out, f"used latest, at step {used}" if self.last else f"not used since step {used}"

    def enter(self, page: Page, now: int) -> str:
        self.order[page] = now
        return ""

    def state(self) -> str:
        return "oldest use first " + " ".join(map(str, self.order))


class Mru(Lru):
    """Most recently used: good for cycles that do not fit."""

    name, meaning, last = "mru", "the page used latest leaves", True


class Lfu(Policy):
    """Least frequently used, counted while in memory; of several the one not used for longest."""

    name, meaning = "lfu", "the page used least often since it came in leaves; of several, the one unused for longest"

    def __init__(self, frames: int, pages: Sequence[Page], seed: int = 0) -> None:
        super().__init__(frames, pages, seed)
        self.uses: dict[Page, tuple[int, int]] = {}  # how often, last use

    def hit(self, page: Page, now: int) -> str:
        self.uses[page] = self.uses[page][0] + 1, now
        return ""

    def victim(self, page: Page, now: int) -> tuple[Page, str]:
        out = min(self.uses, key=self.uses.__getitem__)
        count, used = self.uses.pop(out)
        tie = sum(n == count for n, _ in self.uses.values())
        why = f"used {count} time{'s' if count > 1 else ''}, least of all"
        return out, why if not tie else f"{why} (as {tie} other{'s' if tie > 1 else ''}), and not since step {used}"

    def enter(self, page: Page, now: int) -> str:
        self.uses[page] = 1, now
        return ""

    def state(self) -> str:
        return "uses " + " ".join(f"{page}:{count}" for page, (count, _) in self.uses.items())


class Opt(Policy):
    """Belady's optimum: knows the future, so no policy has fewer faults."""

    name, meaning = "opt", "the page whose next use is farthest away leaves; of several never used again, the first in"

    def __init__(self, frames: int, pages: Sequence[Page], seed: int = 0) -> None:
        super().__init__(frames, pages, seed)
        self.next: dict[Page, int] = {}
        self.future = [NEVER] * len(pages)  # next use of the page accessed at each step
        seen: dict[Page, int] = {}
        for i in range(len(pages) - 1, -1, -1):
            self.future[i] = seen.get(pages[i], NEVER)
            seen[pages[i]] = i + 1

    def hit(self, page: Page, now: int) -> str:
        self.next[page] = self.future[now - 1]
        return ""

    def victim(self, page: Page, now: int) -> tuple[Page, str]:
        out = max(self.next, key=self.next.__getitem__)  # the first of equals
        when = self.next.pop(out)
        return out, "not used again" if when == NEVER else f"next used at step {when}, later than all others"

    def enter(self, page: Page, now: int) -> str:
        self.next[page] = self.future[now - 1]
        return ""

    def state(self) -> str:
        return "next use " + " ".join(f"{p}:{'never' if n == NEVER else n}" for p, n in self.next.items())


class SecondChance(Policy):
    """FIFO, but a page used since it came to the front of the queue goes to the back once more."""

    name, meaning = "second-chance", "first in, first out, but pages used meanwhile go to the back of the queue"

    def __init__(self, frames: int, pages: Sequence[Page], seed: int = 0) -> None:
        super().__init__(frames, pages, seed)
        self.bits: OrderedDict[Page, bool] = OrderedDict()

    def hit(self, page: Page, now: int) -> str:
        self.bits[page] = True
        return f"bit of {page} set"

    def victim(self, page: Page, now: int) -> tuple[Page, str]:
        spared = []
        while True:
            out, used = self.bits.popitem(last=False)
            if not used:
                break
            spared.append(str(out))
            self.bits[out] = False
        chance = f"second chance for {' '.join(spared)}, then " if spared else ""
        return out, f"{chance}{out} has bit 0"

    def enter(self, page: Page, now: int) -> str:
        self.bits[page] = True
        return ""

    def state(self) -> str:
        return "queue " + " ".join(f"{page}:{int(bit)}" for page, bit in self.bits.items())


class Clock(Policy):
    """The same as a ring of frames with a hand, so that nothing has to be moved."""

    name, meaning = "clock", "a hand goes round the frames, clears bits that are set, and takes the first page without"

    def __init__(self, frames: int, pages: Sequence[Page], seed: int = 0) -> None:
        super().__init__(frames, pages, seed)
        self.ring: list[Page] = []
        self.bits: dict[Page, bool] = {}
        self.hand = 0

    def hit(self, page: Page, now: int) -> str:
        self.bits[page] = True
        return f"bit of {page} set"

    def victim(self, page: Page, now: int) -> tuple[Page, str]:
        spared = []
        while self.bits[self.ring[self.hand]]:
            spared.append(str(self.ring[self.hand]))
            self.bits[self.ring[self.hand]] = False
            self.hand = (self.hand + 1) % self.frames
        out = self.ring[self.hand]
        del self.bits[out]
        passed = f"hand passes {' '.join(spared)}, then " if spared else ""
        return out, f"{passed}{out} has bit 0"

    def enter(self, page: Page, now: int) -> str:
        if len(self.ring) < self.frames:
            self.ring.append(page)
        else:
            self.ring[self.hand] = page
            self.hand = (self.hand + 1) % self.frames
        self.bits[page] = True
        return ""

    def state(self) -> str:
        hand = self.hand if len(self.ring) == self.frames else None
        return "ring " + " ".join(
            f"{'>' if i == hand else ''}{page}:{int(self.bits[page])}" for i, page in enumerate(self.ring)
        )


class Sieve(Policy):
    """A queue with bits whose pages do not move: new ones at the head, the hand goes from the tail to the head."""

    name, meaning = "sieve", "like clock, but pages keep their place in the queue and new ones come in at its head"

    def __init__(self, frames: int, pages: Sequence[Page], seed: int = 0) -> None:
        super().__init__(frames, pages, seed)
        self.queue: list[Page] = []  # the oldest first
        self.bits: dict[Page, bool] = {}
        self.hand = 0

    def hit(self, page: Page, now: int) -> str:
        self.bits[page] = True
        return f"bit of {page} set"

    def victim(self, page: Page, now: int) -> tuple[Page, str]:
        spared = []
        while self.bits[self.queue[self.hand]]:
            spared.append(str(self.queue[self.hand]))
            self.bits[self.queue[self.hand]] = False
            self.hand = (self.hand + 1) % len(self.queue)
        out = self.queue.pop(self.hand)
        del self.bits[out]
        if self.hand == len(self.queue):
            self.hand = 0  # past the head: on from the tail
        passed = f"hand passes {' '.join(spared)}, then " if spared else ""
        return out, f"{passed}{out} has bit 0"

    def enter(self, page: Page, now: int) -> str:
        self.queue.append(page)
        self.bits[page] = False
        return ""

    def state(self) -> str:
        return "queue " + " ".join(
            f"{'>' if i == self.hand else ''}{page}:{int(self.bits[page])}" for i, page in enumerate(self.queue)
        )


class TwoQueues(Policy):
    """2Q of Johnson and Shasha: pages used once pass through a short queue; those that come back soon are kept.

    ``A1in`` holds up to a quarter of the frames, first in, first out; ``A1out`` remembers the numbers of half as many
    pages as there are frames that left it; a page remembered there goes into ``Am``, an LRU list.
    """

    name, meaning = "2q", "new pages pass through a short queue; those that come back soon after go into an LRU list"

    def __init__(self, frames: int, pages: Sequence[Page], seed: int = 0) -> None:
        super().__init__(frames, pages, seed)
        self.most_in, self.most_out = max(frames // 4, 1), max(frames // 2, 1)
        self.a1in: OrderedDict[Page, None] = OrderedDict()
        self.a1out: OrderedDict[Page, None] = OrderedDict()
        self.am: OrderedDict[Page, int] = OrderedDict()

    def hit(self, page: Page, now: int) -> str:
        if page not in self.am:
            return "stays where it is in A1in"
        self.am[page] = now
        self.am.move_to_end(page)
        return "to the front of Am"

    def victim(self, page: Page, now: int) -> tuple[Page, str]:
        if len(self.a1in) > self.most_in or not self.am:
            out, _ = self.a1in.popitem(last=False)
            self.a1out[out] = None
            if len(self.a1out) > self.most_out:
                self.a1out.popitem(last=False)
            return out, "first in A1in, whose number is remembered in A1out"
        out, used = self.am.popitem(last=False)
        return out, f"A1in is no longer than {self.most_in}, so the last of Am, not used since step {used}"

    def enter(self, page: Page, now: int) -> str:
        if page in self.a1out:
            del self.a1out[page]
            self.am[page] = now
            return "remembered in A1out: goes to Am"
        self.a1in[page] = None
        return ""

    def state(self) -> str:
        parts = {"A1in": [*self.a1in], "A1out": [*self.a1out], "Am": [*self.am]}
        return ", ".join(f"{name} {' '.join(map(str, inside)) or '-'}" for name, inside in parts.items())


class Random(Policy):
    """Any page, with equal chances."""

    name, meaning = "random", "any page leaves, with equal chances"

    def __init__(self, frames: int, pages: Sequence[Page], seed: int = 0) -> None:
        super().__init__(frames, pages, seed)
        self.inside: list[Page] = []
        self.draws = random.Random(seed)

    def victim(self, page: Page, now: int) -> tuple[Page, str]:
        return self.inside.pop(self.draws.randrange(len(self.inside))), "drawn"

    def enter(self, page: Page, now: int) -> str:
        self.inside.append(page)
        return ""


POLICIES: dict[str, type[Policy]] = {
    policy.name: policy for policy in (Fifo, Lru, Opt, Clock, SecondChance, Lfu, Mru, TwoQueues, Sieve, Random)
}
