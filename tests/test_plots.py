"""Figures: what is drawn is what the result holds, and files are vectors that do not change from run to run."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from results import calm, killed, numa, thrashing

from pymem.errors import PymemError
from pymem.plots import FIGURES
from pymem.saved import load_result

mpl.use("agg")



@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_memory_is_stacked_up_to_all_that_is_counted():
    ax = thrashing().plot.memory()
    top = max(area.get_paths()[0].vertices[:, 1].max() for area in ax.collections)
    managed = sum(zone["managed"] for zone in thrashing().zones)
    assert 0.9 * managed * 4096 / 2**20 <= top <= managed * 4096 / 2**20
    assert ax.get_ylabel() == "memory (MiB)"
    assert ax.get_legend() is not None


def test_rates_are_growth_per_second():
    ax = thrashing().plot.swap()
    edges, heights = ax.patches[1].get_data().edges, ax.patches[1].get_data().values
    first = thrashing().timeline["pswpout"][0]
    pages = np.sum(heights * np.diff(edges)) * 2**20 / 4096
    assert pages + first == pytest.approx(thrashing().vmstat["pswpout"], rel=1e-9)


def test_watermarks_are_lines():
    ax = thrashing().plot.free()
    low = sum(zone["low"] for zone in thrashing().zones) * 4096 / 2**20
    line = next(line for line in ax.lines if line.get_label() == "low")
    assert set(line.get_ydata()) == {low}


def test_latency_falls_from_all_accesses_to_the_slowest():
    h = thrashing().tasks["app"].latency["swap_in"]
    ax = thrashing().plot.latency()
    line = next(line for line in ax.lines if line.get_label() == "swap in")
    times, shares = line.get_xdata() * 1000, np.asarray(line.get_ydata())
    assert (times[0], shares[0]) == (h.percentile(0), 1.0)
    assert times[-1] == h.percentile(100)
    assert shares[-1] == h.counts[h.counts > 0][-1] / h.count
    assert (np.diff(shares) < 0).all()


def test_bars_are_the_stalls_of_the_tasks():
    ax = killed().plot.stalls()
    width = sum(bar.get_width() for bar in ax.patches)
    assert width == pytest.approx(sum(task.stall_ns for task in killed().tasks.values()) / 1e9)


def test_figures_go_into_given_axes():
    _, axes = plt.subplots(1, 2)
    assert thrashing().plot.psi(axes[1]) is axes[1]
    assert not axes[0].patches


@pytest.mark.parametrize("make", [calm, killed, numa])
def test_every_figure_can_be_drawn(make):
    for name in FIGURES:
        getattr(make().plot, name)().figure.canvas.draw()


@pytest.mark.parametrize(("form", "begin"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_every_figure_is_saved_as_the_same_vector_file_each_time(form, begin, tmp_path):
    first, second = (thrashing().plot.save(tmp_path / name, form) for name in "ab")
    assert [path.stem for path in first] == list(FIGURES)
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes().startswith(begin)
        assert a.read_bytes() == b.read_bytes()


def test_a_result_without_a_time_line_has_the_other_figures(tmp_path):
    folder = thrashing().save(tmp_path / "out")
    (folder / "timeline.npz").unlink()
    paths = load_result(folder).plot.save(tmp_path / "figures", "svg")
    assert [path.name for path in paths] == ["latency.svg", "stalls.svg"]


def test_mistakes(tmp_path):
    with pytest.raises(PymemError, match="format 'docx': accepted are pdf, svg"):
        thrashing().plot.save(tmp_path, "docx")
    (tmp_path / "file").write_text("")
    with pytest.raises(PymemError, match="cannot be written"):
        thrashing().plot.save(tmp_path / "file")
