"""Valgrind lackey text to page-granular records: the hot loop of the converter.

One pass does three things: it reads lines, joins consecutive accesses to one page into a run, and drops runs
that cannot change any LRU decision of a memory of at least `window` pages.  See docs/traces.md.

The filter is the "safely allowed drop" of Kaplan, Smaragdakis and Wilson, "Flexible reference trace reduction
for VM simulations", ACM TOMACS 13(1), 2003: of three references to a page the middle one may go if fewer than
`window` other pages are referenced between the first and the third.  A set of at most `window` pages is kept,
each with the time of its last emitted reference and of one later reference that may still be dropped:

    reference to a page of the set     its later reference is replaced by this one; the accesses of the
                                       dropped one are added, so their number is never lost
    reference to another page          while the set is full, the page with the oldest emitted reference
                                       gives way: with a later reference it stays, and that one is emitted;
                                       without one it leaves

All pages referenced since the oldest emitted reference are in the set, therefore whatever was dropped was safe,
and references leave in the order of their times.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr

import numpy as np

from pymem.errors import TraceError

DEFAULT_WINDOW = 64
MAX_WINDOW = 4096
BATCH = 1 << 16

cdef enum:
    PAGE_SHIFT = 12
    OP_SHIFT = 40
    COUNT_SHIFT = 46
    MAX_COUNT = 1 << 18
    MAX_SIZE = 65536
    SEEN_READ = 1
    SEEN_WRITE = 2
    SEEN_EXEC = 4
    KIND_LOAD = 0
    KIND_STORE = 1
    KIND_MODIFY = 2
    KIND_FETCH = 3
    BUCKETS = 1024
    LINE_OTHER = 1

cdef uint64_t EMPTY = ~<uint64_t> 0


cdef struct entry_t:            # a place in the set; it keeps its page until that leaves
    uint64_t page
    uint64_t first_time
    uint64_t first_count
    uint64_t last_time      # 0: no later reference
    uint64_t last_count
    int next                    # place of another page of the bucket, or -1
    uint8_t first_write
    uint8_t last_write
    uint8_t seen


cdef inline int hex_digit(uint8_t c) noexcept nogil:
    if 48 <= c <= 57:
        return c - 48
    c |= 32
    if 97 <= c <= 102:
        return c - 87
    return -1


cdef class LackeyParser:
    """Streaming parser of ``valgrind --tool=lackey --trace-mem=yes`` text.

    Parameters
    ----------
    sink : callable
        Gets ``uint64`` arrays of general records (see `pymem.records`); the page field holds the virtual page
        number, the operation is a load or a store, the count the accesses that the record stands for.
    other : callable, optional
        Gets ``(line, number)`` for every line of valgrind itself: system calls and messages.  It may call
        `touch` and `event`.
    window : int
        Pages that the filter keeps, 1 to 4096; 0 turns the filter off.
    name : str
        Name of the input for error messages.

    Raises
    ------
    TraceError
        From `feed` and `close`: a line that is neither an access nor valgrind's, with its number and bytes.
    """

    cdef object sink, other
    cdef readonly str name
    cdef readonly int window
    cdef bytes carry
    cdef entry_t *set
    cdef int held
    cdef int *oldest                # places: those held as a heap by first_time, then those that are free
    cdef int *bucket                # of a page: place of one of its pages in the set, or -1
    cdef uint64_t time
    cdef uint64_t run_page, run_loads, run_count
    cdef int run_open, run_write
    cdef uint8_t run_seen
    cdef uint64_t *table            # touched pages: open addressing, page << 3 | seen
    cdef uint64_t table_mask, table_used
    cdef uint64_t[::1] batch
    cdef Py_ssize_t filled
    cdef bint in_call
    cdef readonly uint64_t lines, fetches, loads, stores, modifies, records, runs

    def __cinit__(self, sink, other=None, int window=DEFAULT_WINDOW, str name="<lackey>"):
        if not 0 <= window <= MAX_WINDOW:
            raise TraceError(f"window is {window}; accepted are 0 (no filter) to {MAX_WINDOW} pages")
        self.sink, self.other, self.name, self.window = sink, other, name, window
        self.carry = b""
        cdef int i
        self.set = <entry_t *> calloc(max(window, 1), sizeof(entry_t))
        self.oldest = <int *> calloc(max(window, 1), sizeof(int))
        self.bucket = <int *> calloc(BUCKETS, sizeof(int))
        self.table_mask = (1 << 12) - 1
        self.table = <uint64_t *> calloc(self.table_mask + 1, sizeof(uint64_t))
        if self.set == NULL or self.oldest == NULL or self.bucket == NULL or self.table == NULL:
            raise MemoryError
        for i in range(window):
            self.oldest[i] = i
        for i in range(BUCKETS):
            self.bucket[i] = -1
        self.batch = np.empty(BATCH, np.uint64)

    def __dealloc__(self):
        free(self.set)
        free(self.oldest)
        free(self.bucket)
        free(self.table)

    # ---- touched pages ------------------------------------------------------------------------------------

    cdef int grow(self) except -1:
        cdef uint64_t old_mask = self.table_mask, i, j, key
        cdef uint64_t mask = old_mask * 2 + 1
        cdef uint64_t *bigger = <uint64_t *> calloc(mask + 1, sizeof(uint64_t))
        if bigger == NULL:
            raise MemoryError
        for i in range(old_mask + 1):
            key = self.table[i]
            if key:
                j = ((key >> 3) * <uint64_t> 0x9E3779B97F4A7C15) >> 20 & mask
                while bigger[j]:
                    j = (j + 1) & mask
                bigger[j] = key
        free(self.table)
        self.table, self.table_mask = bigger, mask
        return 0

    cdef int mark(self, uint64_t page, uint8_t seen, uint8_t *before) except -1:
        """Add to what is known of a page; `before` is what was known."""
        cdef uint64_t j = (page * <uint64_t> 0x9E3779B97F4A7C15) >> 20 & self.table_mask
        while self.table[j] and self.table[j] >> 3 != page:
            j = (j + 1) & self.table_mask
        before[0] = self.table[j] & 7
        if self.table[j] == 0:
            self.table_used += 1
        self.table[j] = page << 3 | before[0] | seen
        if self.table_used * 2 > self.table_mask:
            self.grow()
        return 0

    @property
    def pages(self) -> int:
        """Number of distinct pages touched so far."""
        return self.table_used

    def touched(self):
        """All pages touched so far, sorted, and what was done to each: bit 0 read, 1 written, 2 executed."""
        held = np.asarray(<uint64_t[:self.table_mask + 1]> self.table)
        held = np.sort(held[held != 0])
        return held >> np.uint64(3), (held & np.uint64(7)).astype(np.uint8)

    # ---- output -------------------------------------------------------------------------------------------

    cdef int flush_batch(self) except -1:
        if self.filled:
            out = np.asarray(self.batch)[:self.filled].copy()
            self.filled = 0
            self.sink(out)
        return 0

    cdef int push(self, uint64_t record) except -1:
        self.batch[self.filled] = record
        self.filled += 1
        self.records += 1
        if self.filled == BATCH:
            self.flush_batch()
        return 0

    cdef int emit(self, uint64_t page, int write, uint64_t count) except -1:
        cdef uint64_t head = page | <uint64_t> write << OP_SHIFT
        while count > MAX_COUNT:
            self.push(head | <uint64_t> (MAX_COUNT - 1) << COUNT_SHIFT)
            count -= MAX_COUNT
        return self.push(head | (count - 1) << COUNT_SHIFT)

    # ---- the filter ---------------------------------------------------------------------------------------

    cdef void sink_down(self) noexcept:
        """Put the first place of the heap where it belongs."""
        cdef int *heap = self.oldest
        cdef int moved = heap[0], i = 0, child = 1
        cdef uint64_t time = self.set[moved].first_time
        while child < self.held:
            if child + 1 < self.held and self.set[heap[child + 1]].first_time < self.set[heap[child]].first_time:
                child += 1
            if time <= self.set[heap[child]].first_time:
                break
            heap[i] = heap[child]
            i = child
            child = 2 * i + 1
        heap[i] = moved

    cdef void forget(self, int place) noexcept:
        """Take the page of a place out of its bucket."""
        cdef int *link = &self.bucket[self.set[place].page & (BUCKETS - 1)]
        while link[0] != place:
            link = &self.set[link[0]].next
        link[0] = self.set[place].next

    cdef int give_way(self) except -1:
        """Emit the oldest reference of the set; its page leaves or stays with its later reference."""
        cdef int place = self.oldest[0]
        cdef entry_t *e = &self.set[place]
        self.emit(e.page, e.first_write, e.first_count)
        if e.last_time:
            e.first_time, e.first_count, e.first_write = e.last_time, e.last_count, e.last_write
            e.last_time = 0
        else:
            self.forget(place)
            self.held -= 1
            self.oldest[0], self.oldest[self.held] = self.oldest[self.held], place
        self.sink_down()
        return 0

    cdef int reference(self, uint64_t page, int write, uint64_t count, uint8_t seen) except -1:
        cdef int *bucket = &self.bucket[page & (BUCKETS - 1)]
        cdef int i = bucket[0]
        cdef uint8_t before
        cdef entry_t *e
        self.time += 1
        if self.window == 0:
            self.mark(page, seen, &before)
            return self.emit(page, write, count)
        while i >= 0 and self.set[i].page != page:
            i = self.set[i].next
        if i >= 0:
            e = &self.set[i]
            if seen & ~e.seen:
                self.mark(page, seen, &before)
                e.seen |= seen
            if e.last_time:
                e.last_count += count
                e.last_write |= write
            else:
                e.last_count, e.last_write = count, write
            e.last_time = self.time
        else:
            while self.held == self.window:
                self.give_way()
            i = self.oldest[self.held]  # a heap still: no reference is later
            self.held += 1
            e = &self.set[i]
            e.next, bucket[0] = bucket[0], i
            self.mark(page, seen, &before)
            e.page, e.first_time, e.first_count, e.first_write = page, self.time, count, write
            e.last_time, e.seen = 0, before | seen
        return 0

    cdef int end_run(self) except -1:
        """Hand the current run to the filter; a page first read and then written makes two references."""
        cdef uint8_t before
        if not self.run_open:
            return 0
        self.run_open = 0
        self.runs += 1
        if self.run_write and self.run_loads:
            # The read fault and the write fault are two events, but only the first time.
            self.mark(self.run_page, 0, &before)
            if not before & SEEN_WRITE:
                self.reference(self.run_page, 0, self.run_loads, self.run_seen & ~SEEN_WRITE)
                return self.reference(self.run_page, 1, self.run_count - self.run_loads, SEEN_WRITE)
        return self.reference(self.run_page, self.run_write, self.run_count, self.run_seen)

    cdef int access(self, uint64_t page, int kind) except -1:
        cdef int write = kind == KIND_STORE or kind == KIND_MODIFY
        if not self.run_open or page != self.run_page:
            self.end_run()
            self.run_open, self.run_page, self.run_count = 1, page, 0
            self.run_write, self.run_loads, self.run_seen = 0, 0, 0
        if write:
            self.run_write = 1
            self.run_seen |= SEEN_WRITE | (SEEN_READ if kind == KIND_MODIFY else 0)
        else:
            self.run_seen |= SEEN_EXEC if kind == KIND_FETCH else SEEN_READ
            if not self.run_write:
                self.run_loads += 1
        self.run_count += 1
        return 0

    # ---- for the caller, between lines --------------------------------------------------------------------

    def touch(self, page, bint write):
        """Add an access that no line shows: the kernel copying to or from the program's memory."""
        self.access(page, KIND_STORE if write else KIND_LOAD)

    def drain(self):
        """Emit all that is held, so that what follows comes after it."""
        self.end_run()
        while self.held:
            self.give_way()

    def event(self, record):
        """Emit everything seen so far and then this record, a number in the general form."""
        self.drain()
        self.push(record)

    def flush(self):
        """Emit everything seen so far and hand it to the sink."""
        self.drain()
        self.flush_batch()

    # ---- lines --------------------------------------------------------------------------------------------

    cdef int other_line(self, const uint8_t *p, Py_ssize_t n) except -1:
        """A line that is no access: valgrind's own, or garbage."""
        while n and (p[n - 1] == 10 or p[n - 1] == 13):
            n -= 1
        line = (<const char *> p)[:n]
        if line.startswith(b"SYSCALL["):
            self.in_call = b"-->" not in line
        elif self.in_call:  # the second line of a system call that printed a message
            self.in_call = b"-->" not in line
        elif line and not line.startswith((b"==", b"--", b"**")):
            shown = line[:60] + (b"..." if n > 60 else b"")
            raise TraceError(
                f"{self.name}, line {self.lines}: {shown!r} is neither an access ('I  4001090,3', ' L', ' S' "
                "or ' M' with hexadecimal address and decimal size) nor a message of valgrind"
            )
        if self.other is not None:
            self.other(line, self.lines)
        return 0

    cdef int parse(self, const uint8_t *p, const uint8_t *end) except -1:
        """Parse whole lines; the byte before `end` is a newline."""
        cdef const uint8_t *line
        cdef uint64_t address, page
        cdef int64_t size
        cdef int digit, kind, digits
        while p < end:
            line = p
            self.lines += 1
            kind = -1
            # Conditions stop at the newline that is certain to come, so that nothing is read beyond it.
            if p[0] == 32:
                if p[1] == 76:
                    kind = KIND_LOAD
                elif p[1] == 83:
                    kind = KIND_STORE
                elif p[1] == 77:
                    kind = KIND_MODIFY
                if kind >= 0 and p[2] != 32:
                    kind = -1
            elif p[0] == 73 and p[1] == 32 and p[2] == 32:
                kind = KIND_FETCH
            if kind >= 0:
                p += 3
                address = 0
                digits = 0
                digit = hex_digit(p[0])
                while digit >= 0:
                    address = address << 4 | digit
                    digits += 1
                    p += 1
                    digit = hex_digit(p[0])
                size = 0
                if 1 <= digits <= 16 and p[0] == 44 and 48 <= p[1] <= 57:
                    p += 1
                    while 48 <= p[0] <= 57 and size <= MAX_SIZE:
                        size = size * 10 + (p[0] - 48)
                        p += 1
                    if p[0] == 13:
                        p += 1
                if p[0] != 10 or size == 0 or size > MAX_SIZE or address >> 52 or digits > 16:
                    kind = -1
            if kind < 0:
                p = <const uint8_t *> memchr(line, 10, end - line) + 1
                self.other_line(line, p - line)
                continue
            p += 1
            if kind == KIND_FETCH:
                self.fetches += 1
            elif kind == KIND_LOAD:
                self.loads += 1
            elif kind == KIND_STORE:
                self.stores += 1
            else:
                self.modifies += 1
            page = address >> PAGE_SHIFT
            self.access(page, kind)
            if ((address + size - 1) >> PAGE_SHIFT) != page:
                while page != (address + size - 1) >> PAGE_SHIFT:
                    page += 1
                    self.access(page, kind)
        return 0

    def feed(self, bytes data not None):
        """Parse the next piece of the text; lines may be cut anywhere."""
        cdef bytes rest
        cdef Py_ssize_t cut = data.rfind(b"\n") + 1
        if cut == 0:
            self.carry += data
            if len(self.carry) > 1 << 20:
                raise TraceError(
                    f"{self.name}, line {self.lines + 1}: no end of line within 1 MiB; this is not lackey text "
                    f"(it starts with {self.carry[:30]!r})"
                )
            return
        rest = data[cut:]
        if self.carry:
            # Only the first line is joined, so that a large piece is not copied.
            first = data.find(b"\n") + 1
            joined = self.carry + data[:first]
            self.carry = b""
            self.parse_bytes(joined, 0, len(joined))
            self.parse_bytes(data, first, cut)
        else:
            self.parse_bytes(data, 0, cut)
        self.carry = rest

    cdef int parse_bytes(self, bytes data, Py_ssize_t start, Py_ssize_t stop) except -1:
        cdef const uint8_t *p = data
        return self.parse(p + start, p + stop)

    def close(self):
        """Parse a last line without newline and emit everything held."""
        if self.carry:
            joined = self.carry + b"\n"
            self.carry = b""
            self.parse_bytes(joined, 0, len(joined))
        self.flush()
