"""Binary records of foreign traces to columns: one pass that checks each record and takes what a batch needs of it.

Every function gets whole records as bytes and gives the indices of those that are bad (a list, as a rule empty), a count
of those that are no access, and the columns of the others as `readers.Batch` wants them.  Which bytes are which field
comes from the layout, a dtype of the reader; the widths are those of all versions of the format.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

import numpy as np

cdef enum:
    READ = 0                        # as in readers.keys
    WRITE = 1
    OTHER = 2
    OPERATIONS = 15                 # of libCacheSim
    SECTOR = 512
    MOST_COMMAND = 255
    CHAMPSIM_LOADS = 4
    CHAMPSIM_STORES = 2
    ENTRY_BYTES = 12                # drmemtrace: type, size, address
    ENTRY_TYPES = 50
    ENTRY_WRITE = 1
    ENTRY_BUNDLE = 17
    ENTRY_PID = 24
    ENTRY_MARKER = 28
    MARKER_TIMESTAMP = 2

cdef int64_t MOST_REQUESTS = <int64_t> 1 << 48, NEVER = <int64_t> ((<uint64_t> 1 << 63) - 1)
cdef int64_t MOST_OBJECT = <int64_t> 1 << 40
cdef uint64_t MOST_BLOCK = ((<uint64_t> 1 << 52) - 1) // SECTOR, MOST_TRANSFER = 1 << 30, MOST_US = <uint64_t> 1 << 53
# Five-level page tables: 57 bits, the upper half sign-extended.
cdef uint64_t USER_END = <uint64_t> 1 << 56, KERNEL_START = <uint64_t> 0xFF << 56
cdef uint64_t MOST_STAMP = (<uint64_t> 1 << 63) // 1000    # in us, so that it fits in ns


cdef inline uint16_t u2(const uint8_t *field) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, field, sizeof(value))
    return value


cdef inline uint32_t u4(const uint8_t *field) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, field, sizeof(value))
    return value


cdef inline uint64_t u8(const uint8_t *field) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, field, sizeof(value))
    return value


def _offsets(layout, *names):
    return [layout.fields[name][1] for name in names]


def requests(const uint8_t[::1] data not None, layout, int64_t first, const uint8_t[::1] meanings not None):
    """Requests of libCacheSim: ``time`` in s, ``id``, ``size``, perhaps ``op``, and ``next``.

    Parameters
    ----------
    first : int
        Number of the first record: requests are counted from 1, and the next one must come later.
    meanings : array of uint8
        What each operation is: READ, WRITE, or OTHER, which is no access.

    Returns
    -------
    bad : list of int
    others : int
    place, size, write, time : arrays
    """
    cdef Py_ssize_t step = layout.itemsize, n = data.shape[0] // step, i, made = 0, others = 0
    cdef Py_ssize_t time_at, id_at, size_at, next_at, op_at = -1
    time_at, id_at, size_at, next_at = _offsets(layout, "time", "id", "size", "next")
    cdef bint wide = layout["size"].itemsize == 8
    if "op" in layout.fields:
        op_at, = _offsets(layout, "op")
    if meanings.shape[0] != OPERATIONS:
        raise ValueError(f"{meanings.shape[0]} operations; there are {OPERATIONS}")
    bad, place, size = [], np.empty(n, np.uint64), np.empty(n, np.int64)
    write, time = np.empty(n, np.bool_), np.empty(n, np.int64)
    cdef uint64_t[::1] places = place
    cdef int64_t[::1] sizes = size, times = time
    cdef uint8_t[::1] writes = write.view(np.uint8)
    cdef const uint8_t *record = &data[0] if n else NULL
    cdef int64_t bytes_, following
    cdef uint8_t op, meaning = READ
    with nogil:
        for i in range(n):
            following = <int64_t> u8(record + next_at)
            bytes_ = <int64_t> u8(record + size_at) if wide else <int64_t> u4(record + size_at)
            op = record[op_at] if op_at >= 0 else 0
            if not (first + i + 2 <= following < MOST_REQUESTS or following == -1 or following == NEVER) \
                    or not 0 <= bytes_ <= MOST_OBJECT or op >= OPERATIONS:
                with gil:
                    bad.append(i)
            else:
                if op_at >= 0:
                    meaning = meanings[op]
                places[made] = u8(record + id_at)
                sizes[made] = bytes_
                writes[made] = meaning == WRITE
                times[made] = <int64_t> u4(record + time_at) * 1000000000
                made += meaning != OTHER
                others += meaning == OTHER
            record += step
    return bad, others, place[:made], size[:made], write[:made], time[:made]


def commands(const uint8_t[::1] data not None, layout, int version, const uint8_t[::1] meanings not None):
    """SCSI commands of VSCSI traces: ``command``, ``version``, ``bytes``, ``block`` of 512 bytes and ``us``.

    Parameters
    ----------
    meanings : array of uint8
        What each of 256 commands is: READ, WRITE, or OTHER, which is no access.

    Returns
    -------
    bad : list of int
    others : int
    place, size, write, time : arrays
    """
    cdef Py_ssize_t step = layout.itemsize, n = data.shape[0] // step, i, made = 0, others = 0
    cdef Py_ssize_t command_at, version_at, bytes_at, block_at, us_at
    command_at, version_at, bytes_at, block_at, us_at = _offsets(layout, "command", "version", "bytes", "block", "us")
    if meanings.shape[0] != MOST_COMMAND + 1:
        raise ValueError(f"{meanings.shape[0]} commands; there are {MOST_COMMAND + 1}")
    bad, place, size = [], np.empty(n, np.uint64), np.empty(n, np.int64)
    write, time = np.empty(n, np.bool_), np.empty(n, np.int64)
    cdef uint64_t[::1] places = place
    cdef int64_t[::1] sizes = size, times = time
    cdef uint8_t[::1] writes = write.view(np.uint8)
    cdef const uint8_t *record = &data[0] if n else NULL
    cdef uint64_t bytes_, block, us
    cdef uint16_t command
    cdef uint8_t meaning
    with nogil:
        for i in range(n):
            command, bytes_ = u2(record + command_at), u4(record + bytes_at)
            block, us = u8(record + block_at), u8(record + us_at)
            if u2(record + version_at) >> 8 != version or command > MOST_COMMAND or bytes_ > MOST_TRANSFER \
                    or block > MOST_BLOCK or us >= MOST_US:
                with gil:
                    bad.append(i)
            else:
                meaning = meanings[command]
                places[made], sizes[made] = block * SECTOR, <int64_t> bytes_
                writes[made], times[made] = meaning == WRITE, <int64_t> us * 1000
                made += meaning != OTHER
                others += meaning == OTHER
            record += step
    return bad, others, place[:made], size[:made], write[:made], time[:made]


cdef inline bint canonical(uint64_t address) noexcept nogil:
    return address < USER_END or address >= KERNEL_START


def instructions(const uint8_t[::1] data not None, layout):
    """ChampSim instructions: of each its fetch at ``ip``, its loads and its stores that are not at 0.

    Returns
    -------
    bad : list of int
    place, write : arrays
    """
    cdef Py_ssize_t step = layout.itemsize, n = data.shape[0] // step, i, k, made = 0
    cdef Py_ssize_t ip_at, branch_at, taken_at, load_at, store_at
    ip_at, branch_at, taken_at, load_at, store_at = _offsets(layout, "ip", "is_branch", "taken", "src_mem", "dst_mem")
    cdef Py_ssize_t most = n * (1 + CHAMPSIM_LOADS + CHAMPSIM_STORES)
    bad, place, write = [], np.empty(most, np.uint64), np.empty(most, np.bool_)
    cdef uint64_t[::1] places = place
    cdef uint8_t[::1] writes = write.view(np.uint8)
    cdef const uint8_t *record = &data[0] if n else NULL
    cdef uint64_t address, begin
    cdef bint good
    with nogil:
        for i in range(n):
            address, begin = u8(record + ip_at), made
            good = address > 0 and canonical(address) and record[branch_at] <= 1 \
                and record[taken_at] <= record[branch_at]
            places[made], writes[made] = address, 0
            made += 1
            for k in range(CHAMPSIM_LOADS):
                address = u8(record + load_at + 8 * k)
                good &= canonical(address)
                places[made], writes[made] = address, 0
                made += address != 0
            for k in range(CHAMPSIM_STORES):
                address = u8(record + store_at + 8 * k)
                good &= canonical(address)
                places[made], writes[made] = address, 1
                made += address != 0
            if not good:
                made = <Py_ssize_t> begin
                with gil:
                    bad.append(i)
            record += step
    return bad, place[:made], write[:made]


cdef class Entries:
    """Entries of drmemtrace, of which those for processes and times hold for the accesses after them.

    Parameters
    ----------
    fetched : array of uint8
        Of each type of entry whether it is an instruction that was fetched.

    Attributes
    ----------
    pids : dict
        Number of each process, in the order in which they come.
    """

    cdef readonly dict pids
    cdef const uint8_t[::1] fetched
    cdef bint begun, timed
    cdef int64_t moment             # ns
    cdef uint64_t pid
    cdef uint32_t stream

    def __cinit__(self, const uint8_t[::1] fetched not None):
        if fetched.shape[0] != ENTRY_TYPES:
            raise ValueError(f"{fetched.shape[0]} types; there are {ENTRY_TYPES}")
        self.pids, self.fetched = {}, fetched

    cdef void begin(self, const uint8_t *entry, Py_ssize_t n) noexcept nogil:
        """A trace begins with a time, if it has times; accesses before it are given that."""
        for _ in range(n):
            if u2(entry) == ENTRY_MARKER and u2(entry + 2) == MARKER_TIMESTAMP and u8(entry + 4) < MOST_STAMP:
                self.timed, self.moment = True, <int64_t> u8(entry + 4) * 1000
                break
            entry += ENTRY_BYTES
        self.begun = True

    def take(self, const uint8_t[::1] data not None):
        """The next entries.

        Returns
        -------
        bad : list of int
        bundles : int
            Bundles of instructions, which are no access.
        place, size, write : arrays
        time : array, or None for a trace that does not begin with one
        stream : array
        """
        cdef Py_ssize_t n = data.shape[0] // ENTRY_BYTES, i, made = 0, bundles = 0
        bad, place, size = [], np.empty(n, np.uint64), np.empty(n, np.int64)
        write, time, stream = np.empty(n, np.bool_), np.empty(n, np.int64), np.empty(n, np.uint32)
        cdef uint64_t[::1] places = place
        cdef int64_t[::1] sizes = size, times = time
        cdef uint8_t[::1] writes = write.view(np.uint8)
        cdef uint32_t[::1] streams = stream
        cdef const uint8_t *entry = &data[0] if n else NULL
        cdef uint64_t address
        cdef uint16_t kind
        cdef bint access, stamp
        with nogil:
            if not self.begun:
                self.begin(entry, n)
            for i in range(n):
                kind, address = u2(entry), u8(entry + 4)
                access = kind <= ENTRY_WRITE or (kind < ENTRY_TYPES and self.fetched[kind])
                stamp = kind == ENTRY_MARKER and u2(entry + 2) == MARKER_TIMESTAMP
                if access and address < USER_END:
                    places[made], sizes[made], writes[made] = address, u2(entry + 2), kind == ENTRY_WRITE
                    times[made], streams[made] = self.moment, self.stream
                    made += 1
                elif access or kind >= ENTRY_TYPES or (stamp and address >= MOST_STAMP):
                    with gil:
                        bad.append(i)
                elif stamp:
                    self.moment = <int64_t> address * 1000
                elif kind == ENTRY_BUNDLE:
                    bundles += 1
                elif kind == ENTRY_PID and (address != self.pid or not self.pids):
                    with gil:
                        self.pid, self.stream = address, self.pids.setdefault(address, len(self.pids))
                entry += ENTRY_BYTES
        return (
            bad, bundles, place[:made], size[:made], write[:made], time[:made] if self.timed else None, stream[:made],
        )
