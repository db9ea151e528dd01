"""Binary records: what the compiled passes take of them is what a reading of one field after another takes."""

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pymem.traces import _binary, _records
from pymem.traces._places import ADDRESS, BLOCK, KEY, Places
from pymem.traces.readers.champsim import INSTRUCTION
from pymem.traces.readers.drmemtrace import _FETCHED, ENTRY
from pymem.traces.readers.keys import OTHER, READ, WRITE
from pymem.traces.readers.lcs import LAYOUTS
from pymem.traces.readers.oracle_general import REQUEST, REQUEST_OP
from pymem.traces.readers.requests import _MEANING
from pymem.traces.readers.vscsi import _MEANING as COMMANDS
from pymem.traces.readers.vscsi import VERSION_1, VERSION_2

EDGES = [0, 1, 2, 3, 14, 15, 255, 256, 1 << 30, (1 << 30) + 1, 1 << 40, (1 << 40) + 1, 1 << 48, (1 << 48) - 1,
         (1 << 53) - 1, 1 << 53, (1 << 43) - 1, 1 << 43, (1 << 56) - 1, 1 << 56, 0xFF << 56, (0xFF << 56) - 1,
         (1 << 63) // 1000, (1 << 63) // 1000 - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]  # fmt: skip


def rows_of(*fields):
    """Lists of tuples of unsigned fields of these bytes, with values where the checks begin and end."""
    return st.lists(
        st.tuples(*(
            st.one_of(st.sampled_from([e for e in EDGES if e < 1 << 8 * size]), st.integers(0, (1 << 8 * size) - 1))
            for size in fields
        )),
        max_size=12,
    )  # fmt: skip


def likely(strategy, good):
    """Rows of which many are good."""
    return st.lists(st.one_of(good, strategy.filter(len).map(lambda rows: rows[0])), max_size=12)


def columns(found):
    return [column.tolist() for column in found]


request = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 15),
    st.sampled_from([2, 3, 9, 90, 1 << 47, (1 << 48) - 1, 1 << 48, (1 << 63) - 1, (1 << 64) - 1]),
)  # fmt: skip


@given(likely(rows_of(4, 8, 8, 4, 8), request), st.sampled_from([REQUEST, REQUEST_OP, *LAYOUTS.values()]),
       st.integers(0, 80))  # fmt: skip
def test_requests(rows, layout, first):
    wide, operations = layout["size"].itemsize == 8, "op" in layout.fields
    made = np.zeros(len(rows), layout)
    rows = [(time, key, size if wide else size % 2**32, op % (256 if layout is REQUEST_OP else 2**32), following)
            for time, key, size, op, following in rows]  # fmt: skip
    for one, (time, key, size, op, following) in zip(made, rows, strict=True):
        one["time"], one["id"], one["next"] = time, key, struct.unpack("<q", struct.pack("<Q", following))[0]
        one["size"] = struct.unpack("<q", struct.pack("<Q", size))[0] if wide else size
        if operations:
            one["op"] = op
    bad, others, expected = [], 0, []
    for i, (time, key, size, op, following) in enumerate(rows):
        # Numbers of requests begin at 1, so the one after this has first + i + 2.
        later = first + i + 2 <= following < 1 << 48 or following in ((1 << 64) - 1, (1 << 63) - 1)
        does = op & 0xFF if operations else 1
        if not later or size > 1 << 40 or does > 14:
            bad.append(i)
        elif does in (0, 9):  # nop, delete
            others += 1
        else:
            expected.append((key, size, does in (3, 4, 5, 6, 7, 8, 10, 11, 13, 14), time * 10**9))
    found = _binary.requests(made.view(np.uint8), layout, first, _MEANING)
    assert found[:2] == (bad, others)
    assert columns(found[2:]) == [list(column) for column in zip(*expected, strict=True)] or not expected
    assert [len(column) for column in found[2:]] == [len(expected)] * 4


command = st.tuples(
    st.sampled_from([0x28, 0x2A, 0x08, 0x0A, 0x88, 0x8A, 0xA8, 0xAA, 0, 0x12, 0xFF, 0x100]),
    st.sampled_from([0x100, 0x1FF, 0x200, 0x2AB, 0x300]), st.integers(0, 1 << 31), st.integers(0, 1 << 44),
    st.integers(0, 1 << 54),
)  # fmt: skip


@given(likely(rows_of(2, 2, 4, 8, 8), command), st.sampled_from([1, 2]))
def test_commands(rows, version):
    layout = {1: VERSION_1, 2: VERSION_2}[version]
    made = np.zeros(len(rows), layout)
    for name, column in zip(("command", "version", "bytes", "block", "us"), zip(*rows, strict=True), strict=False):
        made[name] = column
    bad, others, expected = [], 0, []
    for i, (op, number, size, block, us) in enumerate(rows):
        if op > 255 or number >> 8 != version or size > 1 << 30 or block * 512 + 511 >= 1 << 52 or us >= 1 << 53:
            bad.append(i)
        elif op & 0x1F not in (0x08, 0x0A) or op >> 5 not in (0, 1, 4, 5):
            others += 1
        else:
            expected.append((block * 512, size, op & 2 != 0, us * 1000))
    found = _binary.commands(made.view(np.uint8), layout, version, COMMANDS)
    assert found[:2] == (bad, others)
    assert list(zip(*columns(found[2:]), strict=True)) == expected


address = st.one_of(st.just(0), st.integers(0, (1 << 56) - 1), st.sampled_from(EDGES))


@given(st.lists(st.tuples(address, st.sampled_from([(0, 0), (1, 0), (1, 1), (0, 1), (2, 1), (1, 2)]),
                          st.lists(address, min_size=6, max_size=6)), max_size=8))  # fmt: skip
def test_instructions(rows):
    made = np.zeros(len(rows), INSTRUCTION)
    bad, expected = [], []
    for i, (ip, (branch, taken), memory) in enumerate(rows):
        made[i]["ip"], made[i]["is_branch"], made[i]["taken"] = ip, branch, taken
        made[i]["src_mem"], made[i]["dst_mem"] = memory[:4], memory[4:]
        if not ip or branch > 1 or taken > branch or any(1 << 56 <= a < 0xFF << 56 for a in (ip, *memory)):
            bad.append(i)
        else:
            expected += [(ip, False), *((a, k >= 4) for k, a in enumerate(memory) if a)]
    found_bad, place, write = _binary.instructions(made.view(np.uint8), INSTRUCTION)
    assert found_bad == bad
    assert list(zip(place.tolist(), write.tolist(), strict=True)) == expected


entry = st.tuples(
    st.sampled_from([0, 1, 2, 10, 16, 17, 22, 24, 28, 31, 48, 49, 50, 99]), st.sampled_from([0, 1, 2, 3, 4, 8]),
    st.one_of(st.integers(0, 5), st.integers(0, (1 << 56) - 1), st.sampled_from(EDGES)),
)  # fmt: skip


@given(st.lists(entry, max_size=40), st.integers(1, 40))
def test_entries(rows, step):
    entries = _binary.Entries(_FETCHED.view(np.uint8))
    begun, stamps = rows[:step], []
    for kind, size, value in begun:  # the first part says whether there are times, and from when on
        if kind == 28 and size == 2 and value < (1 << 63) // 1000:
            stamps.append(value)
    moment, stream, pids = stamps[0] if stamps else 0, 0, []
    for first in range(0, len(rows), step):
        bad, bundles, expected = [], 0, []
        for i, (kind, size, value) in enumerate(rows[first : first + step]):
            access = kind in (0, 1, *range(10, 17), 31, 48, 49)
            stamp = kind == 28 and size == 2
            if kind > 49 or (access and value >= 1 << 56) or (stamp and value >= (1 << 63) // 1000):
                bad.append(i)
            elif access:
                expected.append((value, size, kind == 1, moment * 1000, stream))
            elif stamp:
                moment = value
            elif kind == 24:
                pids += [] if value in pids else [value]
                stream = pids.index(value)
            bundles += kind == 17
        made = np.array(rows[first : first + step], ENTRY)
        found = entries.take(made.view(np.uint8))
        assert found[:2] == (bad, bundles)
        assert (found[5] is not None) == bool(stamps)
        timed = found[5].tolist() if stamps else [row[3] for row in expected]
        place, size, write, stream_of = (found[i].tolist() for i in (2, 3, 4, 6))
        assert list(zip(place, size, write, timed, stream_of, strict=True)) == expected
        assert list(entries.pids) == pids


def test_what_commands_and_operations_mean():
    names = "nop get gets set add cas replace append prepend delete incr decr read write update".split()
    reads, others = {"get", "gets", "read"}, {"nop", "delete"}
    assert _MEANING.tolist() == [READ if n in reads else OTHER if n in others else WRITE for n in names]
    assert np.flatnonzero(COMMANDS == READ).tolist() == [0x08, 0x28, 0x88, 0xA8]
    assert np.flatnonzero(COMMANDS == WRITE).tolist() == [0x0A, 0x2A, 0x8A, 0xAA]


# ---- what is done to each record afterwards ---------------------------------------------------------------

values = st.lists(st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1)), max_size=40)


@given(values, st.integers(0, 2**64 - 1))
def test_times_come_back_from_their_steps(times, before):
    steps = np.array(times, np.uint64)
    bits = _records.steps(steps, before)
    assert steps.tolist() == [(b - a) % 2**64 for a, b in zip([before, *times], times, strict=False)]
    assert bits == int(np.bitwise_or.reduce(steps))
    assert _records.sums(steps, before).tolist() == times
    short = steps >> np.uint64(40)
    assert _records.sums(short.astype(np.uint32), 5).tolist() == (np.cumsum(short, dtype=np.uint64) + 5).tolist()


@given(values)
def test_values_come_back_from_their_bytes(given_):
    found, made = np.array(given_, np.uint64), np.zeros(len(given_), np.uint64)
    for i in range(8):
        part = _records.plane(found, 8 * i, 0xFF)
        assert part.tolist() == [v >> 8 * i & 0xFF for v in given_]
        assert _records.join(made, part, 8 * i) is not None
    assert made.tolist() == given_
    short = np.zeros(len(given_), np.uint32)
    for i in range(4):
        _records.join(short, _records.plane(found, 8 * i, 0xFF), 8 * i)
    assert short.tolist() == [v % 2**32 for v in given_]
    compact = _records.compact(found)
    assert (compact is None) == any(v >> 32 for v in given_)
    assert compact is None or compact.tolist() == given_


def test_places_whose_hashes_agree_in_their_upper_half_are_told_apart():
    # Keys whose products with the multiplier differ in bit 20 only: in a small table they also begin at one slot.
    multiplier, start = 0x9E3779B97F4A7C15, 0x123456789ABCDEF0
    inverse = pow(multiplier, -1, 1 << 64)
    keys = [(start ^ bit) * inverse % (1 << 64) for bit in (0, 1 << 20, 1 << 21, 3 << 20)]
    assert len({(key * multiplier % (1 << 64)) >> 32 for key in keys}) == 1
    rows, _ = Places(KEY).take(np.array(keys * 2, np.uint64), np.ones(8, np.int64), np.zeros(8, np.bool_))
    assert (rows & 0x3FFFFFFF).tolist() == [0, 1, 2, 3] * 2


@given(st.sampled_from([ADDRESS, BLOCK, KEY]), st.integers(1, 300))
def test_a_table_that_grows_keeps_its_numbers(kind, step):
    places, first = Places(kind), []
    keys = np.arange(6000, dtype=np.uint64) * np.uint64(4099 << 12)
    for begin in [*range(0, len(keys), step * 20)] * 2:
        part = keys[begin : begin + step * 20]
        rows, _ = places.take(part, np.ones(len(part), np.int64), np.zeros(len(part), np.bool_))
        first += (rows & 0xBFFFFFFF).tolist()
    fresh = 1 << 31
    assert first == [*(n | fresh for n in range(6000)), *range(6000)]
    assert places.known == 6000
