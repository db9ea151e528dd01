"""Where the pages of a foreign trace lie: areas, extents and objects, and the table that numbers places."""

import numpy as np
from foreign import L, R, anon, file, imported
from hypothesis import given
from hypothesis import strategies as st

from pymem.records import MAX_COUNT
from pymem.traces import layout
from pymem.traces._places import ADDRESS, KEY, Places
from pymem.traces.readers.oracle_general import REQUEST


def test_areas_are_told_apart_by_gaps(tmp_path):
    # 16 untouched pages belong to the area, 17 do not.
    tasks, _ = imported(tmp_path, b"R 0x1000\nR 0x12000\nR 0x24000\n")
    assert tasks[0].regions == [anon(0x1000, 18), anon(0x24000, 1)]
    assert tasks[0].records == [(0, L, 1), (17, L, 1), (18, L, 1)]


def test_scattered_addresses_keep_to_the_most_areas(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "MAX_MAP_COUNT", 2)
    tasks, _ = imported(tmp_path, b"R 0x1000\nR 0x101000\nR 0x80000000\n")
    # The nearest two share a region, with a hole of 16 pages instead of 255.
    assert tasks[0].regions == [("anon", "anon@1000", None, 18), anon(0x80000000, 1)]
    assert tasks[0].records == [(0, L, 1), (17, L, 1), (18, L, 1)]
    # Distances of 3, 5 and 8 times 2**48 pages, less one or two: none is above 2**51, two are above 2**50.
    tasks, _ = imported(tmp_path, b"R 0x1000\nR 0x3000000000000000\nR 0x8000000000000000\nR 0xffffffffffffffff\n")
    assert [(start, pages) for _, _, start, pages in tasks[0].regions] == [(None, 4 + 3 * 16)]
    assert [page for page, _, _ in tasks[0].records] == [0, 17, 34, 51]


spans = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 30)), min_size=1, max_size=60)


@given(spans, st.integers(0, 40), st.integers(1, 5))
def test_spans_are_the_touched_pages_with_small_gaps_filled(parts, gap, step):
    made = layout.Spans(gap)
    for first in range(0, len(parts), step):
        page, count = (np.array(column) for column in zip(*parts[first : first + step], strict=True))
        made.touch(page, count)
    made.settle()
    touched = sorted({page + i for page, count in parts for i in range(count)})
    expected = [[touched[0], touched[0] + 1]]
    for page in touched[1:]:
        if page <= expected[-1][1] + gap:
            expected[-1][1] = page + 1
        else:
            expected.append([page, page + 1])
    assert np.stack([made.low, made.high], axis=1).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 5 << 12)), min_size=1, max_size=60),
       st.integers(1, 7))  # fmt: skip
def test_objects_lie_in_their_order_and_never_overlap(requests, step):
    places, rows = Places(KEY), []
    for first in range(0, len(requests), step):
        key, stream, size = zip(*requests[first : first + step], strict=True)
        made, _ = places.take(
            np.array(key, np.uint64), np.array(size), np.zeros(len(key), np.bool_), np.array(stream, np.uint32)
        )
        rows += made.tolist()
    most = {}
    for key, stream, size in requests:
        most[key, stream] = max(most.get((key, stream), 1), -(-size // 4096))
    numbers = {pair: number for number, pair in enumerate(most)}  # in order of appearance
    assert [row & 0x3FFFFFFF for row in rows] == [numbers[key, stream] for key, stream, _ in requests]
    assert [row >> 32 for row in rows] == [max(-(-size // 4096), 1) - 1 for _, _, size in requests]
    found = places.all()
    assert list(zip(*(column.tolist() for column in found[:2]), strict=True)) == list(most)
    assert found[2].tolist() == list(most.values())
    (region,), page = layout.objects("x", found[2])
    assert region.pages == sum(most.values())
    assert page.tolist() == [sum(list(most.values())[:n]) for n in range(len(most))]


@given(st.lists(st.tuples(st.integers(0, 40 << 10), st.integers(0, 9000), st.booleans()), min_size=1, max_size=80),
       st.integers(1, 20))  # fmt: skip
def test_accesses_are_rows_of_their_pages(accesses, step):
    places, found = Places(ADDRESS), []
    for first in range(0, len(accesses), step):
        place, size, write = zip(*accesses[first : first + step], strict=True)
        rows, times = places.take(
            np.array(place, np.uint64), np.array(size), np.array(write), None, np.arange(first, first + len(place))
        )
        for r, t in zip(rows.tolist(), times.tolist(), strict=True):
            found += [(r & 0x3FFFFFFF, r >> 30 & 1, r >> 31 & 1, t)] * ((r >> 32) + 1)
    pages, expected = {}, []
    for place, size, write in accesses:
        for page in range(place >> 12, (place + size - 1 >> 12) + 1) if size else ():
            expected.append((pages.setdefault(page, len(pages)), int(write)))
    assert [row[:2] for row in found] == expected
    assert places.all()[0].tolist() == list(pages)
    assert (places.known, places.empty) == (len(pages), sum(size == 0 for _, size, _ in accesses))
    # A row carries the time of its first access; a place is new in exactly one row.
    assert [row[3] for row in found] == sorted(row[3] for row in found)
    assert {row[0] for row in found if row[2]} == set(range(len(pages)))


def test_an_object_that_is_too_long_for_a_record_becomes_several(tmp_path):
    data = np.array([(0, 1, 4096, -1), (0, 2, (1 << 32) - 1, -1)], REQUEST).tobytes()
    tasks, _ = imported(tmp_path, data)
    assert tasks[0].regions == [file("x", 1 + (1 << 20))]
    assert tasks[0].records == [(0, R, 1), *((1 + i * MAX_COUNT, R, MAX_COUNT) for i in range(4))]
