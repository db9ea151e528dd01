"""Configurations of masim: what they become, and what is wrong with those that are none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pymem
from pymem import workloads as w
from pymem.errors import ScenarioError
from pymem.records import WRITE, Op, unpack
from pymem.regions import Anon
from pymem.workloads.compose import widened

CONFIG = """#regions
# name, length, initial data file
a, 16385, none
b, 8192

# phase 1
example phase 1
# time in ms
10
# name of region, randomness, stride, probability, read/write mode
a, 0, 6000, 80

example phase 2
20
b, 1, 64, 1, ro
"""


def made(folder, text, **settings):
    (folder / "m.cfg").write_bytes(text.encode() if isinstance(text, str) else text)
    return w.Masim(folder / "m.cfg", **settings)


def records(workload, seed=1):
    return unpack(np.concatenate([widened(chunk) for chunk in workload.chunks(seed)]))


def test_regions_and_phases(tmp_path):
    workload = made(tmp_path, CONFIG, accesses_per_ms=2)
    assert workload.regions == (Anon(pages=5, name="a"), Anon(pages=2, name="b"))
    assert workload.length == 60
    page, op, count = records(workload)
    # Offsets 6000, 12000, 0 of 16385 bytes (18000 is behind the end): pages 1, 2, 0; without a mode they are stores.
    assert page[:20].tolist() == [1, 2, 0] * 6 + [1, 2]
    assert set(op[:20]) == {Op.STORE}
    assert set(page[20:].tolist()) == {5, 6}
    assert set(op[20:]) == {Op.LOAD}
    assert set(count) == {1}


def test_sequential_accesses_go_on_across_batches_and_small_strides_stay_on_a_page(tmp_path):
    page, _, _ = records(made(tmp_path, "a, 1000000\n\np\n40\na, 0, 1000, 1\n", accesses_per_ms=10_000))
    assert page.tolist() == [(i % 1000) * 1000 // 4096 for i in range(1, 400_001)]


def test_rw_loads_and_then_stores(tmp_path):
    workload = made(tmp_path, "a, 40960\n\np\n1\na, 1, 1, 1, rw\n", accesses_per_ms=500)
    page, op, _ = records(workload)
    assert workload.length == len(page) == 1000
    assert page[::2].tolist() == page[1::2].tolist()
    assert op.tolist() == [Op.LOAD, Op.STORE] * 500


def test_patterns_are_drawn_by_weight_in_batches(tmp_path):
    text = "a, 4096\nb, 4096\n\np\n1\na, 1, 1, 30, ro\nb, 1, 1, 10, rw\n"
    workload = made(tmp_path, text, accesses_per_ms=400 << 17)
    assert workload.length is None  # b counts twice
    batches = [int(chunk[0] & ~WRITE) for chunk in workload.chunks(3)]
    assert len(batches) == 400
    assert 65 < sum(batches) < 135  # 100 expected, 4 standard deviations of 8.7
    assert batches == [int(chunk[0] & ~WRITE) for chunk in workload.chunks(3)]


def test_a_scenario_runs_it(tmp_path):
    made(tmp_path, CONFIG)
    (tmp_path / "s.toml").write_text(
        '[machine]\nmemory = "64MiB"\n[[tasks]]\nname = "m"\n'
        'workload = { kind = "masim", path = "m.cfg", accesses_per_ms = 100 }\n'
    )
    result = pymem.simulate(pymem.load(tmp_path / "s.toml"))
    assert result.tasks["m"].accesses == 3000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a, 1\n", "has 1 paragraphs; accepted are regions, then phases"),
        ("a, x\n\np\n1\na, 1, 1, 1\n", "line 1: 'a, x'; accepted is 'name, bytes'"),
        ("a, 0\n\np\n1\na, 1, 1, 1\n", "line 1: 'a, 0'"),
        ("a, 1\na, 2\n\np\n1\na, 1, 1, 1\n", "line 2: 'a, 2'; accepted is 'name, bytes' with a new name"),
        ("a, 8796093022208\nb, 4096\n\np\n1\na, 1, 1, 1\n", "line 2: 'b, 4096'; accepted is regions of up to 8 TiB"),
        ("a, 1\n\np\n1\n", "line 4: '1'; accepted is phases of three lines or more"),
        ("a, 1\n\np\nsoon\na, 1, 1, 1\n", "line 4: 'soon'; accepted is the time of the phase in milliseconds"),
        ("a, 1\n\np\n1\nb, 1, 1, 1\n", "line 5: 'b, 1, 1, 1'; accepted is 'region, random, stride, weight', of the"),
        ("a, 1\n\np\n1\na, 2, 1, 1\n", "line 5: 'a, 2, 1, 1'; accepted is 0 or 1, then"),
        ("a, 1\n\np\n1\na, 0, 0, 1\n", "line 5: 'a, 0, 0, 1'; accepted is 0 or 1, then a stride"),
        ("a, 1\n\np\n1\na, 0, 1, 1, wr\n", "line 5: 'a, 0, 1, 1, wr'; accepted is ro, wo or rw"),
        (b"#" * (1 << 21), "is larger than 1048576 bytes"),
    ],
)
def test_what_is_no_configuration_is_named(tmp_path, text, message):
    with pytest.raises(ScenarioError, match=r"masim\.path: .*m\.cfg") as caught:
        made(tmp_path, text)
    assert message in str(caught.value)


def test_settings_that_are_wrong(tmp_path):
    with pytest.raises(ScenarioError, match=r"masim\.path: .*none\.cfg: No such file"):
        w.Masim(tmp_path / "none.cfg")
    with pytest.raises(ScenarioError, match=r"masim\.accesses_per_ms: 0; accepted is an integer from 1"):
        made(tmp_path, CONFIG, accesses_per_ms=0)
    with pytest.raises(ScenarioError, match=r"masim\.path: 5; accepted is the name"):
        w.Masim(5)


@given(st.integers(0, len(CONFIG) - 1), st.integers(0, 7), st.integers(0, len(CONFIG)))
def test_damage_is_an_error_or_well_formed(tmp_path_factory, place, bit, end):
    data = bytearray(CONFIG.encode())
    data[place] ^= 1 << bit
    folder = tmp_path_factory.mktemp("m")
    try:
        workload = made(folder, bytes(data[:end]), accesses_per_ms=1)
    except ScenarioError as error:
        assert str(error).startswith(f"masim.path: {folder / 'm.cfg'}")
        return
    pages = sum(region.pages for region in workload.regions)
    first = next(iter(workload.chunks(0)))
    assert int((first & ~WRITE).max()) < pages
