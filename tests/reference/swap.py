"""Slow, readable model of one swap area on a machine with one CPU, as Linux 6.12 hands out its slots."""

from collections import deque

CLUSTER = 256
BATCH = 64


class Slot:
    def __init__(self):
        self.refs = 0  # page table entries that name it
        self.page = None  # its page in swap cache
        self.shadow = None


class Cluster:
    def __init__(self, first, size):
        self.numbers = range(first, first + size)
        self.used = 0
        self.next = first
        self.list = None  # "free" or "nonfull"; None: being filled, or full


class SwapArea:
    """Slots from 1. A CPU fills one cluster after the other; slots are taken 64 ahead while many are free."""

    def __init__(self, slots):
        self.total = slots
        self.slots = {}  # in use, by number
        self.taken = set()  # in use or taken ahead
        self.ahead = deque()
        self.clusters = [Cluster(1 + at, min(CLUSTER, slots - at)) for at in range(0, slots, CLUSTER)]
        self.lists = {"free": deque(), "nonfull": deque()}
        for cluster in self.clusters:
            self.put(cluster, "free")
        self.current = None
        self.nr_free = slots  # without those taken ahead

    @property
    def full(self):
        return self.nr_free * 2 < self.total

    def put(self, cluster, name):
        cluster.list = name
        if name:
            self.lists[name].append(cluster)

    def scan(self):
        """The next free slot: rest of the current cluster, a free cluster, holes of others."""
        while len(self.taken) < self.total:
            if self.current is None:
                source = self.lists["free"] or self.lists["nonfull"]
                self.current = source.popleft()
                self.current.list = None
                self.current.next = self.current.numbers.start
            cluster = self.current
            for number in range(cluster.next, cluster.numbers.stop):
                if number not in self.taken:
                    cluster.next = number + 1
                    cluster.used += 1
                    self.taken.add(number)
                    return number
            self.current = None
            self.put(cluster, "nonfull" if cluster.used < len(cluster.numbers) else None)
        return None

    def alloc(self):
        """Number of a slot that nobody names yet, or None."""
        many = self.total > 5 * BATCH and self.nr_free > 2 * BATCH
        if many and not self.ahead:
            while len(self.ahead) < BATCH and len(self.taken) < self.total:
                self.ahead.append(self.scan())
                self.nr_free -= 1
        if self.ahead:
            number = self.ahead.popleft()
        else:
            number = self.scan()
            if number is None:
                return None
            self.nr_free -= 1
        self.slots[number] = Slot()
        return number

    def release(self, number):
        del self.slots[number]
        self.taken.remove(number)
        self.nr_free += 1
        cluster = self.clusters[(number - 1) // CLUSTER]
        was_full = cluster.used == len(cluster.numbers) and cluster is not self.current
        cluster.used -= 1
        if was_full:
            self.put(cluster, "nonfull")
        if cluster.used == 0 and cluster.list == "nonfull":
            self.lists["nonfull"].remove(cluster)
            self.put(cluster, "free")
