"""Access records: the layout promised to traces and to the engine, and its limits."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymem.errors import ScenarioError
from pymem.records import MAX_COUNT, MAX_FAST_PAGE, MAX_PAGE, WRITE, Op, pack, unpack

record = st.tuples(st.integers(0, MAX_PAGE), st.sampled_from(list(Op)), st.integers(1, MAX_COUNT))


@given(st.lists(record, max_size=30))
def test_unpack_is_the_inverse_of_pack(rows):
    pages, ops, counts = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    packed = pack(pages, ops, counts)
    assert packed.dtype == np.uint64
    assert packed.shape == pages.shape
    for found, given_ in zip(unpack(packed), (pages, ops, counts), strict=True):
        assert found.dtype == np.int64
        assert np.array_equal(found, given_)


@given(record)
def test_the_bits_are_where_the_format_says(row):
    page, op, count = row
    assert int(pack(page, op, count)) == page | int(op) << 40 | (count - 1) << 46


def test_defaults_are_single_loads_and_arguments_broadcast():
    assert pack([1, 2]).tolist() == [1, 2]
    assert pack(np.arange(2)[:, None], [Op.LOAD, Op.STORE]).tolist() == [[0, 1 << 40], [1, 1 | 1 << 40]]
    assert pack([]).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1,), "page from -1 to -1; accepted is 0 to 1099511627775"),
        (([3, 1 << 40],), "page from 3 to 1099511627776; accepted is 0 to 1099511627775"),
        ((0, 19), "operation from 19 to 19; accepted is 0 to 18"),
        ((0, -1), "operation from -1 to -1; accepted is 0 to 18"),
        ((0, 0, 0), "count from 0 to 0; accepted is 1 to 262144"),
        ((0, 0, [1, 262145]), "count from 1 to 262145; accepted is 1 to 262144"),
    ],
)
def test_what_a_record_cannot_hold_is_refused(arguments, message):
    with pytest.raises(ScenarioError, match=f"^records: {re.escape(message)}$"):
        pack(*arguments)


def test_the_fast_form():
    assert WRITE.dtype == np.uint32
    assert int(WRITE) == 1 << 31
    assert int(WRITE) - 1 == MAX_FAST_PAGE


def test_the_operations_are_those_of_the_engine(project_root):
    text = (project_root / "memcore" / "records.pxd").read_text(encoding="utf-8")
    numbers = {name: int(number) for name, number in re.findall(r"^\s*OP_([A-Z]+) *= *(\d+)", text, re.MULTILINE)}
    assert numbers == {op.name: int(op) for op in Op}
