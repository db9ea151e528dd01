"""Traces: every record comes back, damage is always an error, and lackey text becomes the right records."""

import itertools
import random
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymem.errors import TraceError
from pymem.records import Op, pack, unpack
from pymem.regions import Anon, File
from pymem.traces import columns, container, store
from pymem.traces._lackey import LackeyParser
from pymem.traces.columns import accesses_in, narrow, widen
from pymem.traces.convert import LackeyConverter
from pymem.traces.model import RegionInfo
from pymem.traces.store import TraceFile, Writer

COMPRESSIONS = sorted(container.COMPRESSIONS)
PAGES = 1 << 20

single = st.tuples(st.integers(0, PAGES - 1), st.sampled_from([Op.LOAD, Op.STORE]), st.integers(1, 1 << 18))
ranged = st.tuples(st.integers(0, PAGES - 1000), st.sampled_from([o for o in Op if 2 <= o < 17]), st.integers(1, 1000))
timed = st.tuples(st.integers(0, (1 << 40) - 1), st.sampled_from([Op.SLEEP, Op.EXIT]), st.just(1))


def packed(rows):
    return pack(*(np.array([row[i] for row in rows], np.int64) for i in range(3)))


general = st.lists(st.one_of(single, ranged, timed), max_size=40).map(packed)
fast = st.lists(st.tuples(st.integers(0, PAGES - 1), st.booleans()), max_size=40).map(
    lambda rows: np.array([page | write << 31 for page, write in rows], np.uint32)
)
pieces = st.lists(st.tuples(st.integers(0, 1), st.one_of(general, fast)), max_size=8)


def joined(chunks):
    return np.concatenate([np.empty(0, np.uint64), *map(widen, chunks)])


@pytest.mark.parametrize("compression", COMPRESSIONS)
@given(parts=pieces, small=st.integers(1, 50), data=st.data())
def test_what_was_written_comes_back(tmp_path_factory, compression, parts, small, data):
    path = tmp_path_factory.mktemp("t") / "x.pmt"
    times = [data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(p), max_size=len(p))) for _, p in parts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "CHUNK_RECORDS", small)  # so that short streams make several chunks
        with Writer(path, compression=compression, times=True, provenance={"made": "here"}) as writer:
            for name in ("a", "b"):
                writer.add_task(name, [Anon(PAGES - 3, name="heap"), File(3, name="db", offset=2, shared=False)])
            for (task, part), moments in zip(parts, times, strict=True):
                writer.append(part, task, np.array(moments, np.uint64))
    with TraceFile(path) as trace:
        trace.verify()
        assert trace.info == writer.info()
        assert trace.info.provenance == {"made": "here"}
        for task in (0, 1):
            given_ = joined([part for t, part in parts if t == task])
            assert np.array_equal(joined(trace.records(task)), given_)
            moments = [x for (t, _), xs in zip(parts, times, strict=True) if t == task for x in xs]
            assert [int(x) for chunk in trace.times(task) for x in chunk] == moments
            assert trace.info.tasks[task].records == len(given_)
            assert trace.info.tasks[task].accesses == accesses_in(given_)
            assert [r.to_region() for r in trace.info.tasks[task].regions] == [
                Anon(PAGES - 3, name="heap"),
                File(3, name="db", offset=2, shared=False),
            ]


@given(general)
def test_records_are_narrowed_only_if_nothing_is_lost(records):
    fast_form = narrow(records)
    _, op, count = unpack(records)
    assert (fast_form is not None) == bool(np.all(op <= 1) and np.all(count == 1))
    if fast_form is not None:
        assert np.array_equal(widen(fast_form), records)


def test_accesses_count_repeats_and_pages_of_read_and_write():
    rows = [(0, Op.LOAD, 5), (1, Op.STORE, 1), (2, Op.READ, 7), (3, Op.WRITE, 2), (4, Op.MUNMAP, 100), (5, Op.SLEEP, 1)]
    assert accesses_in(packed(rows)) == 15


def sample(path, compression="lzma", **changes):
    """A trace with every kind of record, two tasks, several chunks."""
    rng = np.random.default_rng(3)
    with Writer(path, compression=compression, **changes) as writer:
        for name in ("a", "b"):
            writer.add_task(name, [Anon(PAGES)])
            writer.append(rng.integers(0, PAGES, 300, dtype=np.uint32), len(writer.tasks) - 1)
            writer.append(pack(rng.integers(0, 100, 200), rng.integers(0, 19, 200), rng.integers(1, 9, 200)), 0)
    return path


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_flipped_bit_is_noticed(tmp_path, monkeypatch, compression):
    monkeypatch.setattr(store, "CHUNK_RECORDS", 100)
    path = sample(tmp_path / "x.pmt", compression)
    whole = path.read_bytes()
    rng = random.Random(5)
    # All of the first header and of the trailer, and places everywhere.
    places = {*range(8 * 32), *range(8 * (len(whole) - 32), 8 * len(whole)), *rng.sample(range(8 * len(whole)), 600)}
    for bit in sorted(places):
        damaged = bytearray(whole)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        path.write_bytes(damaged)
        with pytest.raises(TraceError, match=r"x\.pmt: "), TraceFile(path) as trace:
            trace.verify()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_truncation_is_noticed(tmp_path, compression):
    path = sample(tmp_path / "x.pmt", compression)
    whole = path.read_bytes()
    for size in sorted({*range(80), *range(0, len(whole), 37), *range(len(whole) - 70, len(whole))}):
        path.write_bytes(whole[:size])
        with pytest.raises(TraceError, match=r"x\.pmt: "):
            TraceFile(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(TraceError, match="no end mark"):
        TraceFile(path)


def test_damage_in_one_chunk_gives_no_record_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK_RECORDS", 100)
    path = sample(tmp_path / "x.pmt", "none")
    with TraceFile(path) as trace:
        whole = [chunk.copy() for chunk in trace.records(0)]
        place = trace._places[2].offset + container.CHUNK.size + 100
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with TraceFile(path) as trace:
        found = trace.records(0)
        assert all(np.array_equal(next(found), chunk) for chunk in whole[:2])
        with pytest.raises(TraceError, match="chunk 2: checksum of the data"):
            next(found)


def test_other_files_are_no_traces(tmp_path):
    for name, data in (("empty", b""), ("text", b"I  4001090,3\n"), ("zeros", bytes(100))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(TraceError, match=f"{name}: "):
            TraceFile(tmp_path / name)


@pytest.mark.parametrize("idents", [(), (4,), (10,), (3, 9), (1, 9), (2, 3), (3, 10), (1, 12)])
def test_columns_that_do_not_make_records(idents):
    payload = container.pack_columns((ident, container.NONE, np.zeros(4, np.uint8)) for ident in idents)
    with pytest.raises(TraceError, match=r"x\.pmt: chunk 7: columns .* do not make records"):
        columns.Decoder("x.pmt", 7, 4, memoryview(b"".join(payload.parts)))


@pytest.mark.parametrize(
    ("compression", "expected"), [("none", [1]), ("lzma", [3, 4, 5, 6, 8]), ("zlib", [9, 11, 4, 5, 6, 8])]
)
def test_columns_of_zeros_are_left_out(compression, expected):
    # Of the pages bytes 2 and 4 are used, of the counts less one, which are 0, 4 and 2**16, bytes 0 and 2.
    records = pack([0, 7 << 16, 1 << 32], [Op.LOAD, Op.READ, Op.STORE], [1, 5, (1 << 16) + 1])
    payload = columns.encode(records, None, container.COMPRESSIONS[compression], None)
    data = b"".join(payload.parts)
    assert (payload.size, payload.crc) == (len(data), zlib.crc32(data))
    found = columns.Decoder("x.pmt", 0, 3, memoryview(data))
    assert list(found.columns) == expected
    assert found.stored_records().tolist() == records.tolist()


# ---- the writer -------------------------------------------------------------------------------------------


def test_an_aborted_writer_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.pmt"
    for before in (None, b"earlier"):
        if before is not None:
            path.write_bytes(before)
        with pytest.raises(RuntimeError, match="half-way"), Writer(path) as writer:  # noqa: PT012 (the writer is aborted by the error)
            writer.add_task("a", [Anon(9)])
            writer.append(np.arange(9, dtype=np.uint32))
            raise RuntimeError("half-way")
        assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == ([] if before is None else [("x.pmt", before)])
        with pytest.raises(RuntimeError, match="not closed"):
            writer.info()


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_the_array_may_be_used_again_after_append(tmp_path, dtype):
    records = np.arange(9, dtype=dtype)
    with Writer(tmp_path / "x.pmt") as writer:
        writer.add_task("a", [Anon(9)])
        writer.append(records)
        records[:] = 0
    with TraceFile(tmp_path / "x.pmt") as trace:
        assert joined(trace.records()).tolist() == list(range(9))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda w: w.append(np.array([3, 9], np.uint32)),
            r"task 'a', record 2: page 9 of operation 0; the task has 9 pages",
        ),
        (lambda w: w.append(pack([5], Op.READ, 5)), r"task 'a', record 1: page 9 of operation 2; the task has 9 pages"),
        (lambda w: w.append(np.array([19 << 40], np.uint64)), r"record 1: operation 19; accepted are 0 to 18"),
        (lambda w: w.append(np.zeros(3)), r"records are float64 of shape \(3,\); accepted is one dimension of uint32"),
        (lambda w: w.append(np.zeros((1, 1), np.uint32)), r"of shape \(1, 1\); accepted is one dimension"),
        (lambda w: w.append(np.zeros(1, np.uint32), 1), r"task 1; the trace has 1 tasks"),
        (lambda w: w.append(np.zeros(1, np.uint32), times=np.zeros(1, np.uint64)), r"times are not expected"),
        (lambda w: w.add_task("a", []), r"task 'a' twice; names must differ"),
        (lambda w: w.add_task("b", ["heap"]), r"a region is 'heap'; accepted are pymem\.Anon, pymem\.File"),
    ],
)
def test_what_a_trace_does_not_take(tmp_path, act, message):
    with pytest.raises(TraceError, match=message), Writer(tmp_path / "x.pmt") as writer:  # noqa: PT012 (as above)
        writer.add_task("a", [Anon(9)])
        writer.append(np.zeros(1, np.uint32))
        act(writer)
    assert list(tmp_path.iterdir()) == []


def test_settings_of_a_writer(tmp_path):
    with pytest.raises(TraceError, match="compression 'zip'; accepted are none, lzma, zlib"):
        Writer(tmp_path / "x.pmt", compression="zip")
    for level in (-1, 10):
        with pytest.raises(TraceError, match=f"level {level}; accepted is 0 to 9"):
            Writer(tmp_path / "x.pmt", level=level)
    assert list(tmp_path.iterdir()) == []
    for compression in ("lzma", "zlib"):
        with TraceFile(sample(tmp_path / "x.pmt", compression, level=9)) as trace:
            trace.verify()


def test_arrays_outlive_the_file_and_closing_twice_is_fine(tmp_path):
    trace = TraceFile(sample(tmp_path / "x.pmt", "none"))
    chunk = next(trace.records(1))
    kept = chunk.copy()
    trace.close()
    trace.close()
    assert np.array_equal(chunk, kept)


# ---- lackey text ------------------------------------------------------------------------------------------


def parsed(text, window=0, cuts=()):
    out, others = [], []
    parser = LackeyParser(out.append, lambda line, number: others.append((number, line)), window)
    edges = [0, *sorted(cuts), len(text)]
    for low, high in itertools.pairwise(edges):
        parser.feed(text[low:high])
    parser.close()
    return parser, list(zip(*(x.tolist() for x in unpack(joined(out))), strict=True)), others


def test_runs_of_one_page_become_one_record():
    text = b"I  00401000,3\n L 00401ff8,8\nI  00401003,4\n S 1ffe000,8\n M 1ffe010,4\n L 2000ffc,8\n"
    parser, records, others = parsed(text)
    # A modify is one access that writes; the last load reaches into the next page.
    assert records == [(0x401, Op.LOAD, 3), (0x1FFE, Op.STORE, 2), (0x2000, Op.LOAD, 1), (0x2001, Op.LOAD, 1)]
    assert (parser.lines, parser.fetches, parser.loads, parser.stores, parser.modifies) == (6, 2, 2, 1, 1)
    pages, seen = parser.touched()
    assert (pages.tolist(), seen.tolist()) == ([0x401, 0x1FFE, 0x2000, 0x2001], [1 | 4, 1 | 2, 1, 1])
    assert others == []


def test_a_page_first_read_and_then_written_faults_twice():
    read_write = b" L 5000,8\n L 5008,8\n S 5000,8\n"
    assert parsed(read_write)[1] == [(5, Op.LOAD, 2), (5, Op.STORE, 1)]
    # Once the page is writable, one record that writes says the same.
    assert parsed(read_write + b" L 6000,8\n" + read_write)[1][-1] == (5, Op.STORE, 3)


@given(st.lists(st.integers(0, 80), max_size=6))
def test_the_text_may_be_cut_anywhere(cuts):
    text = b"==7== Command: ./x\nI  00401000,3\r\n L 00402ff8,8\n S 1ffe000,8\n M 1ffe010,4\n L 2000ffc,8"
    whole = parsed(text)
    assert parsed(text, cuts=cuts)[1:] == whole[1:]
    assert whole[2] == [(1, b"==7== Command: ./x")]


def lru_misses(pages, size):
    """Misses of an LRU memory, by definition."""
    held, misses = [], []
    for page in pages:
        if page in held:
            held.remove(page)
        else:
            misses.append(page)
            if len(held) == size:
                held.pop(0)
        held.append(page)
    return misses


@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=200),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_the_filter_changes_no_decision_of_an_lru_memory_of_its_size(steps, window, more):
    text = b"".join(b" %c %x000,8\n" % (b"S" if write else b"L", page) for page, write in steps)
    _, records, _ = parsed(text, window)
    pages = [page for page, _ in steps]
    assert sum(count for _, _, count in records) == len(steps)
    assert lru_misses([page for page, _, _ in records], window + more) == lru_misses(pages, window + more)
    assert {p for p, op, _ in records if op == Op.STORE} == {p for p, write in steps if write}


@pytest.mark.parametrize(
    "bad",
    [
        b"hello",
        b" X 4000,8",
        b" L 4000",
        b" L 4000,0",
        b" L 4000,x",
        b" L ,8",
        b" L 4000,99999",
        b" L g000,8",
        b"I 4000,8",
        b" L 10000000000000000,8",
        b" L 4000,8 ",
        b" L  4000,8",
        b"\0",
    ],
)
def test_a_bad_line_names_its_number(bad):
    parser = LackeyParser(lambda _: None, None, 64, "prog.txt")
    with pytest.raises(TraceError, match=r"^prog\.txt, line 3: b.* is neither an access") as caught:
        parser.feed(b" L 4000,8\n==1== a message\n" + bad + b"\n L 5000,8\n")
    assert repr(bad)[:-1] in str(caught.value)


def test_text_without_lines_is_given_up():
    parser = LackeyParser(lambda _: None)
    with pytest.raises(TraceError, match="no end of line within 1 MiB; this is not lackey text"):
        parser.feed(b"x" * (17 * 65536))


# ---- system calls -----------------------------------------------------------------------------------------

CALLS = b"""==9== Lackey, an example Valgrind tool
==9== Using Valgrind-3.19.0 and LibVEX; rerun with -h for copyright info
==9== Command: ./prog --fast
SYSCALL[9,1](9) sys_mmap ( 0x0, 16384, 3, 34, 4294967295, 0 ) --> [pre-success] Success(0x10000)
 S 10000,8
 S 11000,8
SYSCALL[9,1](257) sys_openat ( 4294967196, 0x1(db), 0 ) --> [async] ...
SYSCALL[9,1](257) ... [async] --> Success(0x3)
SYSCALL[9,1](0) sys_read ( 3, 0x12000, 8192 ) --> [async] ...
SYSCALL[9,1](0) ... [async] --> Success(0x2000)
SYSCALL[9,1](1) sys_write ( 3, 0x10000, 100 ) --> [async] ...
SYSCALL[9,1](1) ... [async] --> Success(0x64)
SYSCALL[9,1](11) sys_munmap ( 0x10000, 8192 )[sync] --> Success(0x0)
SYSCALL[9,1](11) sys_munmap ( 0x90000, 8192 )[sync] --> Failure(0x16)
SYSCALL[9,1](9) sys_mmap ( 0x10000, 4096, 3, 50, 4294967295, 0 ) --> [pre-success] Success(0x10000)
 L 10000,8
"""


def converted(tmp_path, text, **settings):
    with LackeyConverter(name="prog.txt", directory=str(tmp_path), **settings) as converter:
        converter.feed(text)
        info = converter.finish(tmp_path / "x.pmt", task="prog", provenance={"host": "none"})
    with TraceFile(tmp_path / "x.pmt") as trace:
        trace.verify()
        return info, list(zip(*(x.tolist() for x in unpack(joined(trace.records()))), strict=True))


def test_system_calls_become_records(tmp_path):
    info, records = converted(tmp_path, CALLS, window=0)
    anon, file = info.tasks[0].regions
    assert (anon.kind, anon.name, anon.start, anon.pages) == ("anon", "anon@10000", 0x10000, 4)
    # db was read for two pages from its start and written for a part of the third.
    assert (file.kind, file.name, file.start, file.pages, file.writable) == ("file", "db", None, 3, True)
    assert records == [
        (0, Op.STORE, 1),
        (1, Op.STORE, 1),  # the program
        (4, Op.READ, 2),
        (2, Op.STORE, 1),
        (3, Op.STORE, 1),  # read() fills the buffer
        (0, Op.LOAD, 1),
        (6, Op.WRITE, 1),  # write() reads its buffer first
        (0, Op.MUNMAP, 2),
        (0, Op.MMAP, 1),  # what failed leaves nothing
        (0, Op.LOAD, 1),
    ]
    about = info.provenance
    assert (about["source"], about["valgrind"], about["host"]) == ("valgrind lackey", "Valgrind-3.19.0", "none")
    assert about["input"]["lines"] == CALLS.count(b"\n")
    assert about["input"]["system_calls"] == 6
    assert (about["input"]["stores"], about["input"]["loads"]) == (2, 1)


def test_addresses_used_again_are_the_pages_of_the_mapping_of_their_time(tmp_path):
    text = (
        b"SYSCALL[9,1](257) sys_openat ( 4294967196, 0x1(lib), 0 ) --> [sync] Success(0x3)\n"
        b"SYSCALL[9,1](9) sys_mmap ( 0x0, 8192, 1, 2, 3, 4096 ) --> [pre-success] Success(0x40000)\n"
        b" L 40000,8\n L 41000,8\n"
        b"SYSCALL[9,1](11) sys_munmap ( 0x40000, 8192 )[sync] --> Success(0x0)\n"
        b"SYSCALL[9,1](9) sys_mmap ( 0x0, 8192, 3, 34, 4294967295, 0 ) --> [pre-success] Success(0x40000)\n"
        b" S 41000,8\n"
    )
    info, records = converted(tmp_path, text, window=0)
    anon, file = info.tasks[0].regions
    assert (anon.kind, anon.pages, anon.start) == ("anon", 2, 0x40000)
    assert (file.name, file.pages, file.offset, file.shared, file.writable) == ("lib", 2, 1, False, False)
    assert records == [(2, Op.LOAD, 1), (3, Op.LOAD, 1), (2, Op.MUNMAP, 2), (1, Op.STORE, 1)]


def test_executable_mappings_of_files_are_kept(tmp_path):
    text = (
        b"SYSCALL[9,1](257) sys_openat ( 4294967196, 0x1(lib), 0 ) --> [sync] Success(0x3)\n"
        b"SYSCALL[9,1](9) sys_mmap ( 0x0, 8192, 5, 2, 3, 0 ) --> [pre-success] Success(0x40000)\n"
        b"SYSCALL[9,1](257) sys_openat ( 4294967196, 0x1(late), 0 ) --> [sync] Success(0x4)\n"
        b"SYSCALL[9,1](9) sys_mmap ( 0x0, 4096, 1, 2, 4, 0 ) --> [pre-success] Success(0x50000)\n"
        b"SYSCALL[9,1](10) sys_mprotect ( 0x50000, 4096, 5 )[sync] --> Success(0x0)\n"
        b"SYSCALL[9,1](257) sys_openat ( 4294967196, 0x1(data), 0 ) --> [sync] Success(0x5)\n"
        b"SYSCALL[9,1](9) sys_mmap ( 0x0, 4096, 3, 2, 5, 0 ) --> [pre-success] Success(0x60000)\n"
        b"I  40000,4\n L 50000,8\n S 60000,8\n S 70000,8\n"
    )
    with LackeyConverter(directory=str(tmp_path)) as converter:
        converter.feed(text)
        converter.finish(tmp_path / "x.pmt")
    with TraceFile(tmp_path / "x.pmt") as trace:
        (task,) = trace.info.tasks
    kept = {r.name: r.executable for r in task.regions if r.kind == "file"}
    assert kept == {"lib": True, "late": True, "data": False}
    assert kept == {r.name: r.to_region().executable for r in task.regions if r.kind == "file"}
    # Traces made before the key was there have no such mappings.
    old = {key: value for key, value in task.regions[0].to_json().items() if key != "executable"}
    assert RegionInfo.from_json(old).executable is False
    with pytest.raises(TraceError, match="executable is 1; accepted is true or false"):
        RegionInfo.from_json({**old, "executable": 1})


def test_text_that_cannot_be_converted(tmp_path):
    for text, message in (
        (b"==9== only messages\n", r"prog\.txt: no memory access in 1 lines"),
        (b" L 4000,8\ngarbage", r"prog\.txt, line 2: b'garbage' is neither"),
        (
            b" L 4000,8\nSYSCALL[9,1](11) sys_munmap ( what, 1 )[sync] --> Success(0x0)\n",
            r"prog\.txt, line 2: system call b'SYSC",
        ),
        (
            b" L 4000,8\nSYSCALL[9,1](11) sys_munmap ( 0x1000 )[sync] --> Success(0x0)\n",
            r"prog\.txt, line 2: system call b'SYSC",
        ),
    ):
        with pytest.raises(TraceError, match=message):
            converted(tmp_path, text)
        assert list(tmp_path.iterdir()) == []
