"""Generators, traces and mixes: the same seed the same records, pages within regions, the promised shape."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymem import workloads as w
from pymem.errors import ScenarioError, UnitError
from pymem.provenance import describe
from pymem.records import MAX_FAST_PAGE, WRITE, Op, pack, unpack
from pymem.regions import Anon, File
from pymem.workloads._draw import alias_cells, draw_alias, mark_share
from pymem.workloads.compose import widened

SAMPLES = {
    "sequential": w.Sequential("4MiB", passes=3, writes="25%"),
    "backward": w.Sequential("4MiB", accesses=2500, backward=True),
    "strided": w.Strided(pages=1000, accesses=200_000, stride=7),
    "uniform": w.Uniform("64MiB", accesses=200_000, writes=0.5),
    "zipf": w.Zipf("64MiB", accesses=200_000, s=1.1, writes=0.3),
    "hotcold": w.HotCold("64MiB", accesses=200_000, move_every=30_000),
    "read": w.FileStream("10MiB", request="60KiB", passes=2),
    "mmap": w.FileStream("10MiB", mode="mmap", order="random", pause="5us"),
    "write": w.DirtyWriter("10MiB", fsync_every=3, pause="1ms"),
    "store": w.DirtyWriter("10MiB", mode="mmap", request="12KiB", fsync_every=2),
    "leak": w.Leak("1GiB"),
    "slow leak": w.Leak("300MiB", rate="10MiB", step="1MiB", hold="1h"),
    "trace": w.Trace(np.arange(500, dtype=np.uint32)),
    "phases": w.Phases([w.Sequential("4MiB"), w.FileStream("8MiB"), w.Uniform("64MiB", accesses=1000)]),
    "mix": w.Mix([w.Zipf("4MiB", accesses=90_000), w.DirtyWriter("8MiB"), w.Leak("32MiB")], [5, 1, 1]),
}


def all_of(workload, seed=1):
    return np.concatenate([widened(chunk) for chunk in workload.chunks(seed)])


@pytest.mark.parametrize("name", SAMPLES)
def test_every_stream_is_deterministic_and_well_formed(name):
    workload = SAMPLES[name]
    for chunk in workload.chunks(5):
        assert chunk.dtype in (np.uint32, np.uint64)
        assert chunk.flags.c_contiguous
        assert chunk.ndim == 1
        assert 0 < len(chunk) <= 1 << 18
    assert np.array_equal(all_of(workload, 5), all_of(workload, 5))


@pytest.mark.parametrize("name", SAMPLES)
def test_pages_are_within_the_regions_and_the_length_is_right(name):
    workload = SAMPLES[name]
    # Trace checks every record against the regions, and counts accesses by itself.
    checked = w.Trace(all_of(workload), workload.regions)
    assert workload.length == checked.length


@pytest.mark.parametrize("name", ["uniform", "zipf", "hotcold", "mmap", "phases", "mix"])
def test_another_seed_gives_other_records(name):
    assert not np.array_equal(all_of(SAMPLES[name], 1), all_of(SAMPLES[name], 2))


@pytest.mark.parametrize("name", SAMPLES)
def test_provenance_can_describe_it(name):
    assert json.dumps(describe(SAMPLES[name]))


# ---- the shape of each ------------------------------------------------------------------------------------


def pages_of(workload, seed=1):
    return unpack(all_of(workload, seed))[0]


def test_sequential_goes_round():
    assert pages_of(w.Sequential(pages=5, accesses=12)).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert pages_of(w.Sequential(pages=3, passes=2, backward=True)).tolist() == [2, 1, 0, 2, 1, 0]


def test_sequential_is_seamless_across_chunks():
    pages = pages_of(w.Sequential(pages=70_001, passes=3))
    assert np.array_equal(pages, np.tile(np.arange(70_001), 3))


@given(st.integers(1, 300), st.data())
def test_strides_touch_every_page_once_in_each_pass(pages, data):
    stride = data.draw(st.integers(1, pages))
    found = pages_of(w.Strided(pages=pages, stride=stride, passes=2))
    by_columns = np.concatenate([np.arange(c, pages, stride) for c in range(stride)])
    assert np.array_equal(found, np.tile(by_columns, 2))


def test_uniform_is_uniform():
    counts = np.bincount(pages_of(w.Uniform(pages=64, accesses=640_000)), minlength=64)
    chi = float(((counts - 10_000) ** 2 / 10_000).sum())
    assert 25 < chi < 120  # 63 degrees of freedom


@pytest.mark.parametrize("s", [0, 0.5, 0.9, 1.0, 2.5])
def test_zipf_has_its_frequencies(s):
    n, pages = 500_000, 200
    counts = np.bincount(pages_of(w.Zipf(pages=pages, accesses=n, s=s, shuffle=False)), minlength=pages)
    expected = np.arange(1, pages + 1) ** -float(s)
    expected *= n / expected.sum()
    big = expected > 20
    chi = float(((counts - expected)[big] ** 2 / expected[big]).sum())
    assert chi < big.sum() + 5 * np.sqrt(2 * big.sum())


def test_zipf_shuffles_the_ranks():
    plain = np.bincount(pages_of(w.Zipf(pages=1000, accesses=100_000, shuffle=False)), minlength=1000)
    mixed = np.bincount(pages_of(w.Zipf(pages=1000, accesses=100_000)), minlength=1000)
    assert plain[:10].sum() > 5 * mixed[:10].sum()
    assert abs(np.sort(plain)[-20:].sum() / np.sort(mixed)[-20:].sum() - 1) < 0.05


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200))
def test_the_alias_table_is_exact(weights):
    p = np.array(weights)
    table = alias_table(p)
    keep = ((table >> np.uint64(32)).astype(float) + 1) / (1 << 32)
    alias = (table & np.uint64((1 << 32) - 1)).astype(int)
    got = (keep + np.bincount(alias, 1 - keep, len(p))) / len(p)
    assert np.allclose(got, p / p.sum(), atol=1e-9)


def cells_by_numpy(scaled):
    """What `alias_cells` promises: two cumulative sums and one search."""
    small, large = np.flatnonzero(scaled < 1), np.flatnonzero(scaled >= 1)
    keep, alias = np.ones(len(scaled)), np.arange(len(scaled), dtype=np.uint64)
    if len(small) and len(large):
        room_end = np.cumsum(1 - scaled[small])
        room_start = room_end - (1 - scaled[small])
        need_end = np.cumsum(scaled[large] - 1)
        keep[small] = scaled[small]
        filler = np.searchsorted(need_end, room_start, side="right")
        alias[small] = large[np.minimum(filler, len(large) - 1)]
        filled = np.searchsorted(room_start, need_end, side="left")
        taken = np.where(filled > 0, room_end[np.maximum(filled, 1) - 1], 0.0)
        keep[large] = np.clip(1 - (taken - need_end), 0, 1)
        keep[large[-1]] = 1
        alias[large[:-1]] = large[1:]
    share = np.minimum(keep * (1 << 32), (1 << 32) - 1).astype(np.uint64)
    return share << np.uint64(32) | alias


def alias_table(weights):
    return alias_cells(weights * (len(weights) / weights.sum()))


@given(seed=st.integers(0, 1 << 32), n=st.integers(1, 2000), s=st.floats(0, 8))
def test_cells_are_those_of_numpy(seed, n, s):
    weights = np.arange(1, n + 1, dtype=np.float64) ** -s
    np.random.default_rng(seed).shuffle(weights)
    np.testing.assert_array_equal(alias_table(weights), cells_by_numpy(weights * (n / weights.sum())))


def drawn_by_numpy(rng, table, n):
    """What `draw_alias` promises, array by array."""
    place = rng.random(n) * len(table)
    own = place.astype(np.uint32)
    rest = ((place - own) * (1 << 32)).astype(np.uint32)
    cell = table[own]
    return np.where(rest <= (cell >> np.uint64(32)).astype(np.uint32), own, cell.astype(np.uint32))


@given(seed=st.integers(0, 1 << 32), n=st.integers(0, 2000), cells=st.integers(1, 300))
def test_draws_are_those_of_numpy(seed, n, cells):
    table = alias_table(np.arange(1.0, cells + 1))
    ours, theirs = np.random.default_rng(seed), np.random.default_rng(seed)
    np.testing.assert_array_equal(draw_alias(ours, table, n), drawn_by_numpy(theirs, table, n))
    assert ours.random() == theirs.random()  # and they use up as many random numbers


@given(seed=st.integers(0, 1 << 32), n=st.integers(0, 2000), bound=st.integers(0, (1 << 32) - 1))
def test_marks_are_those_of_numpy(seed, n, bound):
    ours, theirs = np.random.default_rng(seed), np.random.default_rng(seed)
    records = np.arange(n, dtype=np.uint32)
    mark_share(ours, records, bound, WRITE)
    marked = theirs.integers(0, 1 << 32, n, np.uint32) < bound
    np.testing.assert_array_equal(records, np.where(marked, np.arange(n) | WRITE, np.arange(n)))
    assert ours.integers(0, 1 << 32, dtype=np.uint32) == theirs.integers(0, 1 << 32, dtype=np.uint32)


def test_draws_stay_in_the_table():
    found = draw_alias(np.random.default_rng(1), alias_table(np.ones(3)), 10_000)
    assert found.dtype == np.uint32
    assert sorted(set(found.tolist())) == [0, 1, 2]


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_share_of_writes(share):
    _, op, _ = unpack(all_of(w.Uniform(pages=10, accesses=300_000, writes=share)))
    assert abs((op == Op.STORE).mean() - share) < 0.005
    assert set(op.tolist()) <= {Op.LOAD, Op.STORE}


def test_the_hot_set_is_hot_and_moves():
    every = 50_000
    pages = pages_of(w.HotCold(pages=1000, accesses=4 * every, hot=0.1, hot_accesses=0.8, move_every=every))
    for period in range(4):
        window = pages[period * every : (period + 1) * every]
        hot = (window >= period * 100) & (window < (period + 1) * 100)
        assert abs(hot.mean() - 0.8) < 0.01
        assert len(np.unique(window)) == 1000


def test_the_hot_set_comes_round_the_end():
    moving = w.HotCold(pages=10, accesses=40, hot=0.5, hot_accesses=1, move_every=10, move_by=0.8)
    pages = pages_of(moving).reshape(4, 10)
    for period, row in enumerate(pages):
        assert {(page - 8 * period) % 10 for page in row.tolist()} <= set(range(5))


def test_reads_cover_the_file_with_a_short_one_at_the_end():
    page, op, count = unpack(all_of(w.FileStream(pages=10, request="16KiB")))
    assert (page.tolist(), count.tolist()) == ([0, 4, 8], [4, 4, 2])
    assert set(op.tolist()) == {Op.READ}


def test_a_writer_syncs_and_rests():
    writer = w.DirtyWriter(pages=6, request="8KiB", passes=1, fsync_every=2, pause="7us")
    page, op, count = unpack(all_of(writer))
    names = [Op(o).name for o in op.tolist()]
    assert names == ["WRITE", "SLEEP", "WRITE", "FSYNC", "SLEEP", "WRITE", "SLEEP"]
    assert page[op == Op.SLEEP].tolist() == [7000] * 3
    assert count[op == Op.WRITE].tolist() == [2, 2, 2]


def test_a_writer_through_a_mapping_stores_to_each_page():
    page, op, _ = unpack(all_of(w.DirtyWriter(pages=5, mode="mmap", request="8KiB", fsync_every=1)))
    assert page[op == Op.STORE].tolist() == [0, 1, 2, 3, 4]
    assert (op == Op.FSYNC).sum() == 3
    assert w.DirtyWriter(pages=5).regions[0].shared


def test_a_leak_stores_to_each_page_once():
    assert np.array_equal(next(iter(w.Leak("1MiB").chunks(0))), np.arange(256, dtype=np.uint32) | WRITE)


def test_a_slow_leak_sleeps_between_steps():
    page, op, _ = unpack(all_of(w.Leak("40KiB", rate="1MiB", step="16KiB")))
    assert [Op(o).name[:2] for o in op.tolist()] == ["ST"] * 4 + ["SL"] + ["ST"] * 4 + ["SL"] + ["ST"] * 2
    assert page[op == Op.STORE].tolist() == list(range(10))
    assert page[op == Op.SLEEP].tolist() == [15_625_000] * 2


def test_a_leak_holds_longer_than_one_record_can_say():
    page, op, _ = unpack(all_of(w.Leak("4KiB", hold="1h")))
    assert page[op == Op.SLEEP].sum() == 3600 * 10**9
    assert (op == Op.SLEEP).sum() > 1


# ---- traces -----------------------------------------------------------------------------------------------


def test_a_trace_infers_its_region():
    assert w.Trace(np.array([3, 9, 1], np.uint32) | WRITE).regions == (Anon(pages=10),)
    wide = np.concatenate([pack([3, 20], [Op.LOAD, Op.DONTNEED], [50, 5]), pack([10**9], Op.SLEEP)])
    trace = w.Trace(wide)
    assert trace.regions == (Anon(pages=25),)
    assert trace.length == 50


def test_a_trace_is_not_copied():
    array = np.arange(600_000, dtype=np.uint32)
    chunks = list(w.Trace(array).chunks(0))
    assert all(np.shares_memory(chunk, array) for chunk in chunks)
    assert np.array_equal(np.concatenate(chunks), array)


@pytest.mark.parametrize(
    ("array", "regions", "message"),
    [
        ([1, 2], None, "list; accepted is"),
        (np.arange(3), None, "int64 of shape"),
        (np.zeros((2, 2), np.uint32), None, "of shape"),
        (np.zeros(0, np.uint32), None, "no records"),
        (np.array([0, 5, 9], np.uint32), [Anon(pages=9)], r"array\[2\]: page 9; accepted is 0 to 8"),
        (pack([0, 5], Op.DONTNEED, 5), [Anon(pages=9)], r"array\[1\]: page 9"),
        (np.array([63 << 40], np.uint64), None, "operation 63"),
        (pack([0, 2], [Op.LOAD, Op.READ]), [Anon(pages=9)], r"array\[1\]: READ of pages 2 to 2"),
        (pack([7], Op.WRITE, 2), [File(pages=8), Anon(pages=8)], r"array\[0\]: WRITE of pages 7 to 8"),
        (pack([0], Op.FSYNC), None, "FSYNC"),
    ],
)
def test_traces_that_cannot_be(array, regions, message):
    with pytest.raises(ScenarioError, match=message):
        w.Trace(array, regions)


# ---- compositions -----------------------------------------------------------------------------------------


def test_phases_share_memory_that_is_alike():
    parts = [w.Sequential(pages=4), w.FileStream(pages=3, request="12KiB"), w.Sequential(pages=6)]
    both = w.Phases(parts)
    assert both.regions == (Anon(pages=6), File(pages=3))
    assert pages_of(both).tolist() == [0, 1, 2, 3, 6, 0, 1, 2, 3, 4, 5]
    assert both.length == 13


def test_regions_with_different_names_are_different_memory():
    parts = [w.Sequential(region=Anon(pages=4, name="a")), w.Sequential(region=Anon(pages=4, name="b"))]
    assert pages_of(w.Phases(parts)).tolist() == list(range(8))


def test_relocation_leaves_times_alone_and_keeps_writes():
    first = w.Trace(np.zeros(1, np.uint32), [Anon(pages=10, name="x")])
    wide = w.Trace(pack([0, 5, 0], [Op.STORE, Op.SLEEP, Op.PAGEOUT], [1, 1, 4]), [Anon(pages=4)])
    narrow = w.Trace(np.array([1], np.uint32) | WRITE, [Anon(pages=4)])
    page, op, count = unpack(all_of(w.Phases([first, wide, narrow])))
    assert page.tolist() == [0, 10, 5, 10, 11]
    assert op.tolist() == [Op.LOAD, Op.STORE, Op.SLEEP, Op.PAGEOUT, Op.STORE]
    assert count.tolist() == [1, 1, 1, 4, 1]


def test_a_range_must_not_be_torn():
    torn = w.Trace(pack([3], Op.DONTNEED, 2), [Anon(pages=4), File(pages=4)])
    with pytest.raises(ScenarioError, match="side by side"):
        all_of(w.Phases([w.Sequential(pages=8), torn]))


def test_two_regions_alike_in_one_part_stay_two():
    part = w.Trace(np.array([0, 3], np.uint32), [Anon(pages=2), Anon(pages=2)])
    assert w.Phases([part, w.Sequential(pages=5)]).regions == (Anon(pages=5), Anon(pages=2))
    assert pages_of(w.Phases([w.Sequential(pages=5), part])).tolist() == [0, 1, 2, 3, 4, 0, 6]


def test_a_mix_keeps_the_order_and_all_records_of_its_parts():
    a = w.Sequential(region=Anon(pages=100_000, name="a"))
    b = w.Sequential(region=Anon(pages=30_000, name="b"), writes=1)
    mixed = np.concatenate(list(w.Mix([a, b]).chunks(3)))
    assert mixed.dtype == np.uint32
    pages = mixed & np.uint32(MAX_FAST_PAGE)
    assert np.array_equal(pages[pages < 100_000], np.arange(100_000))
    assert np.array_equal(pages[pages >= 100_000], np.arange(100_000, 130_000))
    assert np.array_equal(mixed >> 31, pages >= 100_000)


def test_the_weights_of_a_mix():
    parts = [w.Sequential(region=Anon(pages=10, name=name), accesses=100_000) for name in "abc"]
    pages = pages_of(w.Mix(parts, weights=[1, 2, 7]))[:100_000]
    shares = np.bincount(pages // 10, minlength=3) / 100_000
    assert np.allclose(shares, [0.1, 0.2, 0.7], atol=0.01)


def test_a_mix_is_even_from_start_to_end():
    many = w.Sequential(region=Anon(pages=10, name="a"), accesses=200_000)
    few = w.Sequential(region=Anon(pages=10, name="b"), accesses=50_000)
    which = pages_of(w.Mix([many, few])) // 10
    assert [abs(float(part.mean()) - 0.2) < 0.02 for part in np.array_split(which, 5)] == [True] * 5


# ---- scenario files ---------------------------------------------------------------------------------------


def test_every_kind_can_be_written_in_a_file(tmp_path):
    np.save(tmp_path / "t.npy", np.arange(9, dtype=np.uint32))
    uniform = {"kind": "uniform", "size": "1MiB", "accesses": 100}
    tables = [
        uniform,
        {"kind": "sequential", "pages": 10, "passes": 2, "backward": True},
        {"kind": "strided", "size": "1MiB", "stride": 8},
        {"kind": "zipf", "region": {"kind": "file", "size": "1MiB", "name": "f"}, "accesses": 10, "s": 1.2},
        {"kind": "hotcold", "size": "1MiB", "accesses": 10, "hot": "20%"},
        {"kind": "filestream", "size": "1MiB", "mode": "mmap"},
        {"kind": "dirtywriter", "size": "1MiB", "fsync_every": 4},
        {"kind": "leak", "size": "1MiB", "rate": "1MiB", "step": "64KiB"},
        {"kind": "trace", "path": "t.npy", "regions": [{"kind": "anon", "pages": 9}]},
    ]
    (tmp_path / "m.cfg").write_text("a, 8192\n\nphase\n1\na, 1, 64, 1, ro\n")
    tables.append({"kind": "masim", "path": "m.cfg"})
    tables.append({"kind": "phases", "parts": tables[:3]})
    tables.append({"kind": "mix", "parts": [uniform, uniform], "weights": [1, 2]})
    built = [w.from_dict(table, "k", tmp_path) for table in tables]
    assert {type(one).kind for one in built} == set(w.KINDS) - {"recorded"}
    assert all(len(all_of(one)) for one in built)
    assert isinstance(built[3].regions[0], File)


TINY = {"kind": "leak", "size": 4096}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("zipf", "^k: 'zipf'; accepted is a table"),
        ({}, r"^k\.kind: missing; accepted are .*'zipf'"),
        ({"kind": "zip"}, r"^k\.kind: 'zip'; accepted are"),
        ({"kind": "zipf", "size": "1MiB", "accesses": 1, "sz": 2}, r"^k\.sz: unknown key; .*writes"),
        ({"kind": "zipf", "size": "1MiB"}, r"^k\.accesses: missing"),
        ({"kind": "zipf", "size": "1MiB", "accesses": 0}, r"^k\.accesses: 0; accepted is an integer from 1"),
        ({"kind": "zipf", "size": "1MiB", "accesses": "many"}, r"^k\.accesses: 'many'"),
        ({"kind": "zipf", "size": "1MiB", "accesses": 1, "s": -1}, r"^k\.s: -1; accepted is a number from 0"),
        ({"kind": "zipf", "size": "1MB?", "accesses": 1}, r"^k\.size: '1MB\?' is not understood"),
        ({"kind": "zipf", "size": 5000, "accesses": 1}, r"^k\.size: 5000 .* multiple of the page size"),
        ({"kind": "zipf", "accesses": 1}, "^k: none of them given; accepted is one of size, pages"),
        ({"kind": "zipf", "size": 4096, "pages": 1, "accesses": 1}, "^k: size and pages given"),
        ({"kind": "uniform", "pages": 1 << 31, "accesses": 1, "writes": 2}, r"^k\.writes: 2 is out of range"),
        ({"kind": "uniform", "pages": 1 << 32, "accesses": 1}, r"^k\.pages"),
        ({"kind": "uniform", "region": {"kind": "x"}, "accesses": 1}, r"^k\.region\.kind: 'x'"),
        ({"kind": "sequential", "pages": 1, "passes": 2, "accesses": 2}, "^k: accesses and passes given"),
        ({"kind": "strided", "pages": 8}, r"^k\.stride: missing"),
        ({"kind": "strided", "pages": 8, "stride": 9}, r"^k\.stride: 9; accepted is an integer from 1 to 8"),
        ({"kind": "hotcold", "pages": 8, "accesses": 1, "hot": 0.01}, r"^k\.hot: 0\.01 of 8 pages"),
        ({"kind": "hotcold", "pages": 9, "accesses": 1, "hot": 0.5, "move_by": 1}, r"^k\.move_by: given"),
        ({"kind": "filestream", "size": "1MiB", "mode": "write"}, r"^k\.mode: 'write'; accepted are 'read'"),
        ({"kind": "filestream", "size": "1MiB", "request": 0}, r"^k\.request: 0"),
        ({"kind": "filestream", "size": "1MiB", "fsync_every": 1}, r"^k\.fsync_every: unknown key"),
        ({"kind": "filestream"}, r"^k: give either pages or size"),
        ({"kind": "dirtywriter", "size": "1MiB", "pause": "1h"}, r"^k\.pause: '1h'"),
        ({"kind": "leak"}, "^k: accepted is one of size and region"),
        ({"kind": "leak", "size": "1MiB", "rate": 0}, r"^k\.rate: 0 by steps"),
        ({"kind": "trace"}, r"^k\.path: None"),
        ({"kind": "trace", "path": "none.npy"}, r"^k\.path: .*none\.npy cannot be read"),
        ({"kind": "recorded"}, r"^k\.path: missing"),
        ({"kind": "recorded", "path": "builtin:none"}, r"^k\.path: 'builtin:none'; accepted are"),
        ({"kind": "recorded", "path": "x.pmt", "repeat": 0}, r"^k\.repeat: 0"),
        ({"kind": "phases", "parts": {}}, r"^k\.parts: \{\}; accepted is an array of tables"),
        ({"kind": "phases", "parts": []}, r"^k\.parts: \[\]; accepted is a list of 1"),
        ({"kind": "phases", "parts": [{"kind": "uniform"}]}, r"^k\.parts\[0\]"),
        ({"kind": "mix", "parts": [TINY], "weights": [1, 2]}, r"^k\.weights: .* 1 number"),
        ({"kind": "mix", "parts": [TINY], "weights": [-1]}, r"^k\.weights\[0\]: -1"),
    ],
)
def test_mistakes_are_named(table, message, tmp_path):
    with pytest.raises(ScenarioError, match=message):
        w.from_dict(table, "k", tmp_path)


def test_a_size_that_cannot_be_read_stays_a_unit_error(tmp_path):
    with pytest.raises(UnitError):
        w.from_dict({"kind": "leak", "size": "1 parsec"}, "k", tmp_path)


def test_chunks_of_a_long_stream_are_alike_in_size():
    sizes = [len(chunk) for chunk in w.Uniform(pages=9, accesses=400_000).chunks(0)]
    assert sum(sizes) == 400_000
    assert all(a >= b for a, b in pairwise(sizes))
