"""Foreign traces: every format becomes the right records, and damage is an error that names its place."""

import gzip
import itertools
import tracemalloc

import numpy as np
import pytest
from foreign import (
    BINARY,
    FILES,
    KINDS,
    SKIPPED,
    TEXT,
    VSCSI_2,
    Foreign,
    L,
    R,
    S,
    Task,
    W,
    accesses,
    anon,
    damon,
    file,
    imported,
    lcs,
    snapshot,
)  # fmt: skip
from hypothesis import given
from hypothesis import strategies as st

from pymem.errors import TraceError
from pymem.traces.importer import import_trace
from pymem.traces.readers import READERS, Source, base, packing, reader_for
from pymem.traces.readers.drmemtrace import ENTRY
from pymem.traces.readers.lcs import LAYOUTS
from pymem.traces.readers.oracle_general import REQUEST
from pymem.traces.readers.text import Table
from pymem.traces.store import TraceFile

# ---- what files become ------------------------------------------------------------------------------------


def test_there_is_a_file_of_every_format():
    assert sorted(KINDS) == sorted(FILES)
    assert len(KINDS) == len(READERS)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("forced", [False, True])
def test_a_file_becomes_the_right_records(tmp_path, name, forced):
    tasks, source = imported(tmp_path, FILES[name].data, form=name if forced else None)
    assert tasks == FILES[name].tasks
    assert source.bad == 0
    with TraceFile(tmp_path / "x.pmt") as trace:
        about = trace.info.provenance["imported"]
    assert (about["file"], about["format"], about["packing"], about["bad"]) == ("x.dat", name, "none", 0)


@pytest.mark.parametrize(
    "text",
    [
        b"R 0x5000\nW 0x6008\n",
        b"r 5000\nw 600f\n",
        b"l 0x5000 1\ns 0x6008 12\n",
        b"0x5000 R\n0x6008 W\n",
        b"0x5000,R\n0x6008,W\n",
        b"READ,0x5000,8\nWRITE,0x6008,8\n",
        b"Load\t0x5000\nStore\t0x6008\n",
        b"ld 0X5000\r\nst 0X6008\r\n",
        b"0 00005000\n1 0000600a\n",
        b"2 0x5000\n1 0x6008\n",
        b"R 20480\nW 24584\n",
        b"RD 20480\n\nWR 24584",
    ],
)
def test_spellings_of_addresses(tmp_path, text):
    assert imported(tmp_path, text)[0] == [Task("x", [anon(0x5000, 2)], [(0, L, 1), (1, S, 1)])]


def test_other_layouts_of_a_format(tmp_path):
    two = [Task("x", [file("x", 3)], [(2, R, 1), (0, W, 1)], [0, 2000])]
    assert imported(tmp_path, VSCSI_2)[0] == two
    loads = imported(tmp_path, b"LD 0x12345678\nST 74565\n")
    assert loads[1].name.endswith("x.dat")
    assert loads[0] == [Task("x", [anon(0x12000, 1), anon(0x12345000, 1)], [(1, L, 1), (0, S, 1)])]
    pair = damon(snapshot(0, (0, 8192, 1)), snapshot(20_000_000, (4096, 8192, 1)))
    assert imported(tmp_path, pair)[0] == [
        Task("target7", [anon(0, 2)], [(0, S, 1), (1, S, 1), (1, L, 1)], [0, 0, 20_000_000])
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"ls 18185 24446.764416:          1 page-faults:  ffffffff817554ea elf_load+0x28a ([kernel.kallsyms])",
        b"ls 18185 24446.764416: exceptions:page_fault_user: address=0x7fbd0f139b70f ip=0x7f error_code=0x14",
        b"ls 18185 24446.764416: page-faults:",
        b"ls 18185 24446: page-faults: 7f0bb6f3d110",
    ],
)
def test_what_perf_prints_of_other_things_is_no_address(tmp_path, line):
    with pytest.raises(TraceError, match=r"x\.dat, line 2: b'ls 18185 .*accepted is a fault as perf script"):
        imported(tmp_path, FILES["perf"].data.splitlines(keepends=True)[0] + line + b"\n", form="perf")


def test_the_first_access_of_a_page_stores_where_stores_are_not_seen(tmp_path):
    faults = b"".join(b"ls 1 1.%06d: page-faults: %x\n" % (i, page << 12) for i, page in enumerate((1, 2, 2, 1, 3)))
    assert imported(tmp_path, faults)[0][0].records == [(0, S, 1), (1, S, 2), (0, L, 1), (2, S, 1)]


def test_operations_of_caches(tmp_path):
    words = "get gets GET_LEASE read set add cas INCR append delete nop"
    text = "key,op\n" + "".join(f"k,{op}\n" for op in words.split())
    tasks, source = imported(tmp_path, text.encode())
    assert tasks[0].records == [(0, R, 1)] * 4 + [(0, W, 1)] * 5
    assert source.left_out == {"requests that neither read nor write": 2}


def test_what_is_left_out_is_counted(tmp_path):
    for name, what in (("vscsi", "other SCSI commands"), ("lirs", "marks"), ("msr", "requests of 0 bytes")):
        imported(tmp_path, FILES[name].data)
        with TraceFile(tmp_path / "x.pmt") as trace:
            assert trace.info.provenance["imported"]["left_out"] == {what: 1}


def test_system_calls_of_lackey_text_are_followed(tmp_path):
    text = (
        b"SYSCALL[9,1](9) sys_mmap ( 0x0, 16384, 3, 34, 4294967295, 0 ) --> [pre-success] Success(0x10000)\n"
        b" S 10000,8\nSYSCALL[9,1](11) sys_munmap ( 0x10000, 8192 )[sync] --> Success(0x0)\n"
    )
    tasks, _ = imported(tmp_path, text)
    assert tasks[0].regions == [anon(0x10000, 4)]
    assert [(page, int(op), count) for page, op, count in tasks[0].records] == [(0, 1, 1), (0, 14, 2)]


def test_an_unknown_file_or_format(tmp_path):
    for data, message in (
        (b"To be, or not to be\n", r"x\.dat: begins with b'To be, or not to be\\n', which no reader knows"),
        (b"", r"x\.dat: is empty, which no reader knows"),
        (b"==9== Lackey, an example Valgrind tool\n", r"x\.dat: no memory access in 1 lines"),
    ):
        with pytest.raises(TraceError, match=message):
            imported(tmp_path, data)
    with pytest.raises(TraceError, match=r"format 'fly'; accepted are address, alibaba, .*, webcachesim"):
        imported(tmp_path, b"R 1\n", form="fly")
    with pytest.raises(TraceError, match=r"x\.dat: no access in it as LIRS"):
        imported(tmp_path, b"*\n", form="lirs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.dat"]


# ---- single formats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", LAYOUTS)
def test_versions_of_lcs(tmp_path, version):
    rows = [(4, 9, 100, 1, 4), (5, 8, 5000, 13, -1), (5, 7, 1, 9, -1), (6, 9, 0, 12, -1)]
    tasks, source = imported(tmp_path, lcs(version, rows))
    third = [(3, R, 1)] if version == 1 else []  # without operations it is no delete
    assert tasks == [Task("x", [file("x", 3 + len(third))],
                          [(0, R, 1), (1, W if version > 1 else R, 2), *third, (0, R, 1)],
                          [0, 10**9, *[10**9] * len(third), 2 * 10**9])]  # fmt: skip
    assert source.left_out == ({} if version == 1 else {"requests that neither read nor write": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:100], r"header: b.*; accepted are 8192 bytes that begin and end with"),
        (lambda data: data[:8184] + bytes(8) + data[8192:], r"header: b.*since December 2024"),
        (lambda data: data[:8] + b"\x09" + data[9:], r"header: lcs of version 9; accepted are 1 to 8"),
    ],
)
def test_headers_of_lcs_that_are_none(tmp_path, change, message):
    with pytest.raises(TraceError, match=rf"x\.dat, {message}"):
        imported(tmp_path, change(FILES["lcs"].data))


def test_both_tracepoints_of_damon_tell_the_same(tmp_path):
    where = b"ctx_idx=0 scheme_idx=%d target_idx=2 nr_regions=1 4096-8192: 1 0\n"
    both = b"".join(b"kdamond.0 1 [000] 1.500000: damon:damos_before_apply: " + where % scheme for scheme in (3, 4))
    tasks, source = imported(tmp_path, both)
    assert tasks == [Task("context0-target2", [anon(0x1000, 1)], [(0, S, 1)], [0])]
    assert source.left_out == {"regions told again": 1}
    tasks, source = imported(tmp_path, FILES["damon-script"].data + both)
    assert tasks == FILES["damon-script"].tasks
    assert source.left_out == {"regions told again": 2}


def test_tracepoints_of_reclaim_are_counted(tmp_path):
    extra = (
        b"kswapd0 61 [001] 1311.7: vmscan:mm_vmscan_kswapd_wake: nid=0 order=0\n".replace(b"1311.7", b"1311.754310")
        + b"ls 9 [001] 1311.754320: vmscan:mm_vmscan_direct_reclaim_begin: order=0 gfp_flags=GFP_HIGHUSER_MOVABLE\n"
        + b"ls 9 [001] 1311.754330: vmscan:mm_vmscan_kswapd_wake: nid=0 order=0\n"
    )
    tasks, source = imported(tmp_path, extra + FILES["perf"].data)
    assert tasks == FILES["perf"].tasks
    assert source.left_out == {"vmscan:mm_vmscan_kswapd_wake": 2, "vmscan:mm_vmscan_direct_reclaim_begin": 1}


def test_processes_of_drmemtrace_are_tasks(tmp_path):
    one, two = [(24, 4, 1), (28, 2, 10), (0, 8, 0x1000)], [(24, 4, 2), (1, 8, 0x1000), (29, 2, 0x9000)]
    rows = [(25, 0, 5), *one, *two, (26, 0, 0)]
    tasks, _ = imported(tmp_path, np.array(rows, ENTRY).tobytes())
    assert tasks == [
        Task("pid1", [anon(0x1000, 1)], [(0, L, 1)], [0]), Task("pid2", [anon(0x1000, 1)], [(0, S, 1)], [0])
    ]  # fmt: skip


# ---- numbers in text --------------------------------------------------------------------------------------

token = st.one_of(
    st.integers(0, 1 << 66).map(str),
    st.integers(0, 1 << 66).map(hex),
    st.sampled_from("0 00 0x x 1.5 . 1. -1 +1 1e3 1_0 ffg ٣".split()),
    st.integers((1 << 64) - 9, (1 << 64) + 9).map(str),
    st.decimals(0, 10**9, places=6).map(str),
    st.text("0123456789abcdefx.", min_size=1, max_size=26),
)


def by_python(text, base_of):
    try:
        value = int(text, base_of)
    except ValueError:
        return None
    plain = text.isascii() and not any(sign in text for sign in "+-_")
    return value if plain and value < 1 << 64 else None


@given(st.lists(token, min_size=1, max_size=20), st.booleans())
def test_numbers_are_read_as_python_reads_them(tokens, comma):
    glue = "," if comma else " "
    block = "".join(f"z{glue}{text}\n" for text in tokens).encode()

    def read(method, **settings):
        table = Table(block, 1, 2, 2, comma=comma)
        values = getattr(table, method)(1, **settings)
        return [int(v) if ok else None for v, ok in zip(values, table.ok, strict=True)]

    digits = [text if len(text) <= 20 else None for text in tokens]  # more zeros than any number has are refused
    assert read("decimal") == [by_python(t, 10) if t else None for t in digits]
    in_hex = [t.removeprefix("0x") if t and len(t.removeprefix("0x")) <= 16 else None for t in tokens]
    expected = [None if t is None or t == "" or t.startswith("0x") else by_python(t, 16) for t in in_hex]
    assert read("hexadecimal") == expected
    assert read("integer") == [
        h if t.startswith("0x") else by_python(t, 10) if len(t) <= 20 else None
        for t, h in zip(tokens, expected, strict=True)
    ]


fraction = st.one_of(st.none(), st.text("0123456789", min_size=1, max_size=9))


@given(st.lists(st.tuples(st.integers(0, 10**9), fraction), min_size=1))
def test_times_keep_every_digit(moments):
    block = "".join(f"{s}\n" if f is None else f"{s}.{f}\n" for s, f in moments).encode()
    table = Table(block, 1, 1, 1)
    values = table.nanoseconds(0).tolist()
    assert table.ok.all()
    assert values == [s * 10**9 + int((f or "0").ljust(9, "0")) for s, f in moments]


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b" ")), min_size=1), st.booleans())
def test_fields_are_split_as_python_splits_them(lines, comma):
    block = b"\n".join(lines) + b"\n"
    table = Table(block, 5, 1, 99, comma=comma)
    if comma:
        # One carriage return at the end and two blanks around a field go.
        rows = [(n, line.split(b",")) for n, line in enumerate(lines, 5) if len(line.split(b",")) > 1]
    else:
        rows = [(n, line.split()) for n, line in enumerate(lines, 5)]
        rows = [(n, fields) for n, fields in rows if fields and not fields[0].startswith(b"#")]
        assert [table.texts(0), list(table.numbers)] == [[fields[0] for _, fields in rows], [n for n, _ in rows]]
    widths = dict(zip(table.numbers.tolist(), table.width.tolist(), strict=True))
    assert all(widths[n] == len(fields) for n, fields in rows)


# ---- long files -------------------------------------------------------------------------------------------


def test_long_text_is_read_across_blocks(tmp_path):
    rng = np.random.default_rng(7)
    pages, writes = rng.integers(0, 1000, 200_000), rng.random(200_000) < 0.3
    pairs = zip(pages.tolist(), writes.tolist(), strict=True)
    text = "".join(f"{'RW'[int(write)]} {page * 4096 + 0x10000:#x}\n" for page, write in pairs)
    assert len(text) > 2 * packing.BLOCK_BYTES
    tasks, _ = imported(tmp_path, gzip.compress(text.encode(), 1))
    found = [(page, op) for page, op, count in tasks[0].records for _ in range(count)]
    assert found == list(zip(pages.tolist(), [S if w else L for w in writes], strict=True))


def test_long_binary_is_read_across_blocks(tmp_path):
    rng = np.random.default_rng(8)
    made = np.zeros(100_000, REQUEST)  # of 24 bytes: blocks do not end with a record
    made["id"], made["size"], made["next"] = rng.integers(0, 3000, 100_000), 4096, -1
    tasks, _ = imported(tmp_path, made.tobytes())
    order = {key: rank for rank, key in enumerate(dict.fromkeys(made["id"].tolist()))}
    assert [page for page, _, _ in tasks[0].records] == [order[key] for key in made["id"].tolist()]


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for lines in (900_000, 2_700_000):
        text = b"".join(b"R 0x%x\nW 0x5000\n" % (i % 50 << 12) for i in range(lines // 2))
        (tmp_path / "x.dat").write_bytes(gzip.compress(text))
        tracemalloc.start()
        import_trace(tmp_path / "x.dat", tmp_path / "x.pmt", compression="none")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_line_without_end_is_given_up(tmp_path):
    with pytest.raises(TraceError, match=r"x\.dat, line 2: b'1111.*has no end within 1 MiB"):
        imported(tmp_path, b"R 0x1000\n" + b"1" * (3 << 20), form="address")


# ---- damage -----------------------------------------------------------------------------------------------


def joined_with(name, bad):
    """A file with something bad after its first record, where that is, and the record's size or number."""
    data = FILES[name].data
    if name in BINARY:
        size = SKIPPED[name] + BINARY[name]
        return data[:size] + bad + data[size:], "record 1"
    lines = data.splitlines(keepends=True)
    head = 2 if name in ("kvcache", "csv", "lackey", "address") else 1
    return b"".join([*lines[:head], bad, *lines[head:]]), f"line {head + 1}"


@pytest.mark.parametrize("name", [*TEXT, *BINARY])
def test_a_bad_line_or_record_is_named_and_can_be_left_out(tmp_path, name):
    data, where = joined_with(name, FILES[name].bad)
    if name in ("oracleGeneral", "oracleGeneralOpNS", "lcs"):
        # Records say where the next one is, and a header how many there are.
        data = data[:16] + data[16:].replace((3).to_bytes(8, "little"), (4).to_bytes(8, "little"))
    with pytest.raises(TraceError, match=rf"x\.dat, {where}: b.*(accepted is| is neither an access)") as caught:
        imported(tmp_path, data, form=name)
    found = FILES[name].bad.rstrip(b"\n") if name in TEXT else FILES[name].bad[:60]
    assert repr(found)[1:-1] in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.dat"]
    tasks, source = imported(tmp_path, data, form=name, skip_bad=True)
    assert tasks == FILES[name].tasks
    assert (source.bad, len(source.complaints)) == (1, 1)
    assert f"x.dat, {where}: " in source.complaints[0]
    with TraceFile(tmp_path / "x.pmt") as trace:
        assert trace.info.provenance["imported"]["bad"] == 1


def test_many_bad_lines_are_all_counted_and_few_are_kept(tmp_path):
    _, source = imported(tmp_path, b"R 0x1000\n" + b"fly\n" * 5000, form="address", skip_bad=True)
    assert (source.bad, len(source.complaints)) == (5000, base.KEPT)
    with pytest.raises(TraceError, match=r"no access in it as address text, and 7 lines or records were bad"):
        imported(tmp_path, b"fly\n" * 7, form="address", skip_bad=True)


@pytest.mark.parametrize("name", BINARY)
def test_a_file_that_ends_within_a_record_is_noticed(tmp_path, name):
    size, last = BINARY[name], FILES[name].data[-7:]
    whole = (len(FILES[name].data) - SKIPPED[name]) // size
    cut = FILES[name].data + last
    with pytest.raises(TraceError, match=rf"x\.dat, record {whole}: .* of {size} bytes; the file ends after 7 of them"):
        imported(tmp_path, cut, form=name)
    _, source = imported(tmp_path, cut, form=name, skip_bad=True)
    assert source.bad == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("lcs", "header: .*a file of the 3 requests that its header counts; there are 2"), ("drmemtrace", "footer")],
)
def test_a_file_that_ends_after_a_record_is_noticed_where_the_format_says_how_long_it_is(tmp_path, name, message):
    with pytest.raises(TraceError, match=message):
        imported(tmp_path, FILES[name].data[: -BINARY[name]])
    _, source = imported(tmp_path, FILES[name].data[: -BINARY[name]], skip_bad=True)
    assert source.bad == 1


@st.composite
def mutilated(draw):
    """A format, and a file of it that something has happened to."""
    name = draw(st.sampled_from(sorted(FILES)))
    data = bytearray(FILES[name].data * draw(st.sampled_from([1, 3])))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        what = draw(st.sampled_from(["cut", "flip", "mix", "garbage", "remove"]))
        if what == "cut":
            del data[place:]
        elif what == "flip" and place < len(data):
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "mix":
            other = FILES[draw(st.sampled_from(sorted(FILES)))].data
            data[place:place] = other[draw(st.integers(0, len(other))) :]
        elif what == "garbage":
            data[place:place] = draw(st.binary(max_size=40))
        else:
            del data[place : place + draw(st.integers(1, 30))]
    return name, bytes(data)


@given(mutilated(), st.booleans(), st.booleans())
def test_damage_is_an_error_or_well_formed(tmp_path_factory, case, forced, skip_bad):
    name, data = case
    folder = tmp_path_factory.mktemp("d")
    try:
        tasks, source = imported(folder, data, form=name if forced else None, skip_bad=skip_bad)
    except TraceError as error:
        assert str(error).startswith(str(folder / "x.dat"))
        assert sorted(path.name for path in folder.iterdir()) == ["x.dat"]
    else:
        # `imported` has verified the trace, whose writer refuses pages outside the regions.
        assert any(task.records for task in tasks)
        assert skip_bad or source.bad == 0


@given(st.sampled_from([*TEXT, *BINARY]), st.data())
def test_a_flipped_bit_does_not_spread(tmp_path_factory, name, data):
    """What a format without checksums cannot notice changes the record of the bit, and no other."""
    folder, whole = tmp_path_factory.mktemp("f"), FILES[name].data
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    damaged = bytearray(whole)
    damaged[bit >> 3] ^= 1 << (bit & 7)
    before, _ = accesses(folder, whole, name)
    try:
        after, _ = accesses(folder, bytes(damaged), name)
    except TraceError as error:
        if bit >> 3 < SKIPPED.get(name, 0):
            return
        if name in BINARY:
            places = {f"record {((bit >> 3) - SKIPPED[name]) // BINARY[name]}"}
        else:
            line = whole[: bit >> 3].count(b"\n") + 1
            places = {f"line {line}", f"line {line + 1}"}  # of a newline that is gone, or of two lines out of one
        assert any(f"{place}: " in str(error) for place in places), str(error)
        return
    # Records before the damaged one and after it are as they were.  Numbers of keys may change: they are an order.
    trim = (lambda rows: rows) if FILES[name].places else (lambda rows: [row[1:] for row in rows])
    old, new = trim(before), trim(after)
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    ends = zip(old[::-1], new[::-1], strict=False)
    tail = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], ends))
    per_line = 7 if name == "champsim" else 2
    assert same + tail >= len(old) - per_line


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"[1]", "TypeError"),
        (b"[{}]", "KeyError: 'intervals'"),
        (damon(snapshot(0, (8192, 4096, 1))), "region 8192 to 4096 seen 1 times in 2 samples"),
        (damon(snapshot(0, (0, 4096, 3))), "region 0 to 4096 seen 3 times in 2 samples"),
        (damon(snapshot(0, (0, "4,0x96", 1))), "ValueError: invalid literal"),
        (damon(snapshot(0, (0, 1 << 60, 1))), "region of 1152921504606846976 bytes"),
        (damon(snapshot(True, (0, 4096, 1))), "True is not a whole number"),
    ],
)
def test_records_of_damon_that_are_none(tmp_path, record, message):
    with pytest.raises(TraceError, match=r"x\.dat, record 0: ") as caught:
        imported(tmp_path, record, form="damon")
    assert message in str(caught.value)


@pytest.mark.parametrize("data", [b"[", b"[" * 200_000, b'{"a": 1}', b"[1,]", b"\xff[]"])
def test_json_that_is_none_or_other(tmp_path, data):
    with pytest.raises(TraceError, match=r"x\.dat: .*b"):
        imported(tmp_path, data, form="damon")


def test_the_reader_is_the_first_that_knows_the_content(tmp_path):
    for name, one in FILES.items():
        assert isinstance(one, Foreign)
        (tmp_path / "x.dat").write_bytes(one.data)
        with Source(tmp_path / "x.dat") as source:
            assert reader_for(source).name == name
            assert reader_for(source, "txt").name == "txt"
