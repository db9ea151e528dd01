"""Slow, readable models of the two pool allocators, in plain Python lists. Used by tests only.

A model must agree with the engine counter for counter and frame for frame: the order in which zspages are
chosen, slots are given out and frames come back is part of what is modelled.
"""

PAGE = 4096
HANDLE = 8


class Frames:
    """Frame numbers from 1, the one given back last is used first; at most `limit` at once."""

    def __init__(self, limit):
        self.limit = limit
        self.unused = []
        self.last = 0
        self.held = 0

    def get(self):
        if self.held >= self.limit:
            return None
        self.held += 1
        if self.unused:
            return self.unused.pop()
        self.last += 1
        return self.last

    def put(self, pfn):
        self.held -= 1
        self.unused.append(pfn)


class Handles:
    """Object numbers from 1, the one given back last is used first."""

    def __init__(self):
        self.unused = []
        self.last = 0

    def get(self):
        if self.unused:
            return self.unused.pop()
        self.last += 1
        return self.last

    def put(self, handle):
        self.unused.append(handle)


def chain_for(kernel, size, longest):
    """Frames per zspage for slots of `size` bytes."""
    lengths = range(1, longest + 1)
    if kernel == "6.1":
        used_percent = [(n * PAGE - n * PAGE % size) * 100 // (n * PAGE) for n in lengths]
        return lengths[used_percent.index(max(used_percent))]
    if bin(size).count("1") == 1:
        return 1
    waste = [n * PAGE % size for n in lengths]
    return lengths[waste.index(min(waste))]


class Zspage:
    def __init__(self, cls, frames):
        self.cls = cls
        self.frames = frames
        self.slots = [None] * cls.objs
        self.free = list(range(cls.objs))  # the next slot to be given out comes first

    @property
    def inuse(self):
        return self.cls.objs - len(self.free)

    def take(self, handle):
        slot = self.free.pop(0)
        self.slots[slot] = handle
        return slot

    def drop(self, slot):
        self.slots[slot] = None
        self.free.insert(0, slot)


class SizeClass:
    def __init__(self, size, chain, groups):
        self.size = size
        self.chain = chain
        self.objs = chain * PAGE // size
        self.lists = [[] for _ in range(groups)]  # head first

    def zspages(self):
        return [z for group in self.lists for z in group]

    def can_compact(self):
        zspages = self.isolated + self.zspages()
        empty = sum(len(z.free) for z in zspages)
        return empty // self.objs * self.chain

    isolated: list = []


class ZsPool:
    """zsmalloc of Linux 6.1 or of 6.3 and later."""

    def __init__(self, kernel="6.12", chain=8, limit=1 << 31):
        self.kernel = kernel
        self.groups = 4 if kernel == "6.1" else 12
        self.frames = Frames(limit)
        self.handles = Handles()
        self.objects = {}  # handle -> (zspage, slot, length)
        self.pages_compacted = 0
        self.class_of = {}
        self.classes = []
        for size in range(PAGE, 31, -16):
            pages = chain_for(kernel, size, chain)
            objs = pages * PAGE // size
            if not self.classes or (self.classes[-1].chain, self.classes[-1].objs) != (pages, objs):
                self.classes.append(SizeClass(size, pages, self.groups))
            self.class_of[size] = self.classes[-1]

    def class_for(self, length):
        size = max(32, (length + HANDLE + 15) // 16 * 16)
        return self.class_of[min(size, PAGE)]

    def group(self, z):
        if z.inuse == 0:
            return 0
        if z.inuse == z.cls.objs:
            return self.groups - 1
        if self.kernel == "6.1":
            return 1 if z.inuse <= 3 * z.cls.objs // 4 else 2
        return z.inuse * 100 // z.cls.objs // 10 + 1

    def insert(self, z):
        group = z.cls.lists[self.group(z)]
        behind_head = self.kernel == "6.1" and group and z.inuse < group[0].inuse
        group.insert(1 if behind_head else 0, z)

    def move_to_its_list(self, z, old_group):
        if self.group(z) != old_group:
            z.cls.lists[old_group].remove(z)
            self.insert(z)

    def partial(self, cls):
        """Lists of zspages with objects and room, emptiest first."""
        return [group for group in cls.lists[1:-1] if group]

    def alloc(self, length):
        cls = self.class_for(length)
        candidates = self.partial(cls)
        if candidates:
            z = candidates[-1][0]
            group = self.group(z)
            handle = self.handles.get()
            self.objects[handle] = (z, z.take(handle), length)
            self.move_to_its_list(z, group)
            return handle
        frames = []
        for _ in range(cls.chain):
            pfn = self.frames.get()
            if pfn is None:
                for taken in reversed(frames):
                    self.frames.put(taken)
                return 0
            frames.append(pfn)
        z = Zspage(cls, frames)
        handle = self.handles.get()
        self.objects[handle] = (z, z.take(handle), length)
        self.insert(z)
        return handle

    def release(self, z):
        for pfn in z.frames:
            self.frames.put(pfn)

    def free(self, handle):
        z, slot, _ = self.objects.pop(handle)
        group = self.group(z)
        z.drop(slot)
        self.handles.put(handle)
        if z.inuse:
            self.move_to_its_list(z, group)
        else:
            z.cls.lists[group].remove(z)
            self.release(z)

    def place_of(self, handle):
        z, slot, _ = self.objects[handle]
        header = 0 if z.cls.objs == 1 else HANDLE
        at = slot * z.cls.size
        page, offset = divmod(at, PAGE)
        second = z.frames[page + 1] if offset + z.cls.size > PAGE else 0
        return z.frames[page], offset + header, second, z.cls.size - header

    # ---- compaction

    def migrate(self, src, dst):
        for slot, handle in enumerate(src.slots):
            if handle is None:
                continue
            if not dst.free:
                break
            length = self.objects[handle][2]
            self.objects[handle] = (dst, dst.take(handle), length)
            src.drop(slot)

    def put_back(self, z):
        if z.inuse:
            self.insert(z)
            return 0
        self.release(z)
        return z.cls.chain

    def compact_class(self, cls):
        freed = 0
        dst = None
        cls.isolated = []
        while cls.can_compact():
            if dst is None:
                dst = self.partial(cls)[-1].pop(0)
                cls.isolated = [dst]
            src = self.partial(cls)[0].pop(0)
            self.migrate(src, dst)
            freed += self.put_back(src)
            if not dst.free:
                self.insert(dst)
                dst, cls.isolated = None, []
        if dst:
            self.insert(dst)
        cls.isolated = []
        return freed

    def compact_class_6_1(self, cls):
        freed = 0
        while self.partial(cls):
            src = self.partial(cls)[0].pop(0)
            cls.isolated = [src]
            worth_it = cls.can_compact()
            while worth_it and src.inuse:
                dst = self.partial(cls)[-1].pop(0)
                self.migrate(src, dst)
                self.insert(dst)
            cls.isolated = []
            freed += self.put_back(src)
            if not worth_it:
                break
        return freed

    def compact(self):
        step = self.compact_class_6_1 if self.kernel == "6.1" else self.compact_class
        freed = sum(step(cls) for cls in self.classes)
        self.pages_compacted += freed
        return freed

    # ---- what can be seen from outside

    def freeable(self):
        return sum(cls.can_compact() for cls in self.classes)

    def stats(self):
        return {
            "objects": len(self.objects),
            "bytes": sum(length for _, _, length in self.objects.values()),
            "pages": sum(len(z.frames) for cls in self.classes for z in cls.zspages()),
            "pages_compacted": self.pages_compacted,
        }

    def size_classes(self):
        out = []
        for cls in self.classes:
            zspages = cls.zspages()
            out.append(
                {
                    "size": cls.size,
                    "chain": cls.chain,
                    "objects_per_zspage": cls.objs,
                    "zspages": [len(group) for group in cls.lists],
                    "allocated": cls.objs * len(zspages),
                    "used": sum(z.inuse for z in zspages),
                    "pages": cls.chain * len(zspages),
                    "freeable": cls.can_compact(),
                }
            )
        return out


class ZbudPool:
    """zbud of Linux 6.1: a frame is a dict of its two objects."""

    CHUNK = 64

    def __init__(self, limit=1 << 31):
        self.frames = Frames(limit)
        self.records = Handles()
        self.pages = {}  # record -> {"pfn", "first", "last"}: lengths, 0 = none
        self.unbuddied = []  # records with one object, newest first
        self.by_age = []  # records, oldest first

    def chunks(self, length):
        return (length + self.CHUNK - 1) // self.CHUNK

    def room(self, record):
        page = self.pages[record]
        return 63 - self.chunks(page["first"]) - self.chunks(page["last"])

    def alloc(self, length):
        fitting = [r for r in self.unbuddied if self.room(r) >= self.chunks(length)]
        if fitting:
            record = min(fitting, key=self.room)  # the first, newest, of equals
            self.unbuddied.remove(record)
            self.by_age.remove(record)
            side = "last" if self.pages[record]["first"] else "first"
        else:
            pfn = self.frames.get()
            if pfn is None:
                return 0
            record = self.records.get()
            self.pages[record] = {"pfn": pfn, "first": 0, "last": 0}
            side = "first"
            self.unbuddied.insert(0, record)
        self.pages[record][side] = length
        self.by_age.append(record)
        return record * 2 + (side == "last")

    def free(self, handle):
        record, last = divmod(handle, 2)
        page = self.pages[record]
        page["last" if last else "first"] = 0
        if record in self.unbuddied:
            self.unbuddied.remove(record)
            self.by_age.remove(record)
            self.frames.put(page["pfn"])
            self.records.put(record)
            del self.pages[record]
        else:
            self.unbuddied.insert(0, record)

    def place_of(self, handle):
        record, last = divmod(handle, 2)
        page = self.pages[record]
        room = self.chunks(page["last" if last else "first"]) * self.CHUNK
        return page["pfn"], PAGE - room if last else self.CHUNK, 0, room

    def compact(self):
        return 0

    def freeable(self):
        return 0

    def size_classes(self):
        return []

    def stats(self):
        lengths = [page[side] for page in self.pages.values() for side in ("first", "last") if page[side]]
        return {
            "objects": len(lengths),
            "bytes": sum(lengths),
            "pages": len(self.pages),
            "pages_compacted": 0,
        }
