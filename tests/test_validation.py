"""Recorded kernel runs: reading them, making scenarios of them, judging the counters, and the score itself."""

import gzip
import json

import pytest

from pymem.errors import ValidationError
from pymem.validation import page, recording, runner, scenarios, score, table
from pymem.validation.generator import generate, trace_hash
from pymem.validation.victims import victims

#: Share of right pairs that must not be lost, on average over CPUs that are a little slower and faster: some runs hang
#: on chance, and one alone flips a dozen pairs.  The table in docs/validation.md has the same figures.
FLOOR = {"policy": 0.897, "timing": 0.96, "exact": 1.0}
#: Small groups that are simulated in the fast suite; the slow one takes all.
QUICK = ("02_anon_uniform.s*", "06_mixed_swappiness60.s*", "10_oom_adj0_sizes.s*", "11_numa_anon_zrm7.s*")


@pytest.fixture(scope="module")
def known():
    return recording.load()


def test_every_recording_that_comes_along_is_read(known):
    assert len(known) > 150
    assert len({r.label for r in known}) == len(known)
    assert {r.kernel for r in known} == {"6.1", "6.12"}
    left_out = {r.label: r.left_out for r in known if r.left_out}
    assert any("multi-generational" in why for why in left_out.values())
    assert all(r.name[:2] in ("08", "11", "12", "13", "14") for r in known if r.left_out)


@pytest.mark.parametrize("pattern", ["04_anon_hotcold_shift.s2", "05_file_stream_read.s1", "06_mixed_swappiness0.s3"])
def test_traces_are_generated_exactly(pattern):
    (r,) = recording.load(pattern=pattern)
    words = generate(r.config["spec"], r.seed)
    assert len(words) == r.data["accesses"]
    assert trace_hash(words) == r.data["guest_hash"]


def test_a_recording_becomes_the_machine_it_was_made_on():
    (r,) = recording.load(pattern="02_anon_uniform.s2")
    scenario = scenarios.scenario(r, lambda _: None)
    (zones,) = scenario.machine.layout()
    assert [(z.name, z.managed, z.free) for z in zones] == [("DMA", 3840, 3808), ("DMA32", 48783, 39899)]
    assert zones[1].watermarks == (408, 510, 612)
    assert (scenario.kernel, scenario.vm["swappiness"], scenario.vm["page-cluster"]) == ("6.1", "60", "0")
    assert scenario.machine.swap[0].slots == 262_144
    assert scenario.tasks[0].workload.length == 304_375


def test_the_first_phase_fills_memory_as_the_kernel_did():
    (r,) = recording.load(pattern="02_anon_uniform.s2")
    replay = runner.replay(r)
    series = r.data["series"]
    assert replay.series["access"] == series["access"]
    for i in (1, 2):  # before reclaim begins every page is accounted for
        assert abs(replay.series["nr_free_pages"][i] - series["nr_free_pages"][i]) < 256


def test_a_fault_that_only_maps_costs_what_two_recordings_differ_by():
    """The same stream with a fault for every page, and with two for every 32: before memory is short, the rest is
    alike."""

    def per_32_pages(label):
        (found,) = recording.load(pattern=label)
        at = found.data["series"]["access"]
        begin, end = at.index(21750), at.index(55462)
        seconds = found.data["series"]["t"][end] - found.data["series"]["t"][begin]
        return found, seconds * 1e9 / ((at[end] - at[begin]) / 2 / 32)  # every other access reads

    (many, a), (_few, b) = map(per_32_pages, ("05_file_stream_mmap.s3", "05_file_stream_mmap_faultaround.s1"))
    cost = scenarios.scenario(many, lambda access: None).costs["c_file_minor_fault"]
    assert (a - b) / 30 == pytest.approx(cost, rel=0.2)


def pair(kind, kernel, simulated):
    return score.Pair("x.s1", "pgscan", kind, kernel, simulated)


@pytest.mark.parametrize(
    ("kind", "kernel", "simulated", "right"),
    [
        ("policy", (10_000, 11_000), 10_000, True),
        ("policy", (10_000, 11_000), 11_330, True),  # 3 % above
        ("policy", (10_000, 11_000), 11_331, False),
        ("policy", (10_000, 11_000), 9_700, True),
        ("policy", (10_000, 11_000), 9_699, False),
        ("policy", (100, 100), 164, True),  # 64 events
        ("policy", (100, 100), 165, False),
        ("timing", (1000, 2000), 500, True),
        ("timing", (1000, 2000), 4000, True),
        ("timing", (1000, 2000), 4001, False),
        ("exact", (1, 1), 1, True),
        ("exact", (1, 1), 2, False),  # another child: the 64 events are for counters
        ("exact", (1, 1), 0, False),
    ],
)
def test_the_rule(kind, kernel, simulated, right):
    assert pair(kind, kernel, simulated).right is right


def test_what_nobody_counted_is_no_evidence():
    assert pair("policy", (0, 0), 0).empty
    assert not pair("policy", (0, 0), 1).empty
    assert not pair("exact", (0, 0), 0).empty
    assert table.scored([pair("policy", (0, 0), 0), pair("policy", (0, 3), 0)]) == [pair("policy", (0, 3), 0)]


def test_scans_are_compared_without_skipped_pages():
    counters = {
        "pgscan_kswapd": 900, "pgscan_direct": 100, "pgskip_dma32": 400, "pgscan_anon": 750, "pgscan_file": 250,
        "pgsteal_kswapd": 5, "pgsteal_direct": 2, "allocstall_dma32": 1, "allocstall_movable": 3,
    }  # fmt: skip
    found = score.net(counters)
    assert (found["pgscan"], found["pgskip"], found["pgsteal"], found["allocstall"]) == (600, 400, 7, 4)
    assert (found["pgscan_anon"], found["pgscan_file"]) == (450, 150)


def test_victims_of_an_oom_run():
    (r,) = recording.load(pattern="10_oom_m1000_0_0.s2")
    assert victims(r) == {
        "victim1": 1, "pages_of_victim1": 17_376, "victim2": 2, "pages_of_victim2": 14_480, "victims": 2,
    }  # fmt: skip


def scores(pairs):
    out = {}
    for kind in FLOOR:
        mine = [p for p in table.scored(pairs) if p.kind == kind]
        out[kind] = sum(p.right for p in mine) / len(mine) if mine else 1.0
    return out


@pytest.mark.parametrize("pattern", QUICK)
def test_main_scenarios_stay_right(known, pattern):
    chosen = recording.load(pattern=pattern)
    replays = {r.label: r.counters for r in runner.replay_all(chosen)}
    found = scores(score.pairs(known, replays))
    assert found["policy"] >= 0.97
    assert found["timing"] >= 0.85
    assert found["exact"] == 1.0


@pytest.mark.slow
def test_the_score_does_not_get_worse(known):
    found = []
    for pace in runner.PACES:
        replays = runner.counters(runner.replay_all(known, pace=pace))
        found.append(scores(score.pairs(known, replays)))
    means = {kind: sum(one[kind] for one in found) / len(found) for kind in FLOOR}
    assert all(means[kind] >= least for kind, least in FLOOR.items()), means


def test_the_pace_changes_how_long_everything_takes_on_the_cpu():
    (r,) = recording.load(pattern="02_anon_uniform.s2")
    (usual, slower) = (runner.replay(r, pace).series["t"][1] for pace in (1.0, 2.0))  # nothing but the CPU until then
    assert slower == pytest.approx(2 * usual, rel=0.01)


def test_replays_do_not_depend_on_the_number_of_threads():
    chosen = recording.load(pattern="13_nomemcg_ref*")
    assert [r.counters for r in runner.replay_all(chosen, 1)] == [r.counters for r in runner.replay_all(chosen, 3)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a recording"),
        (b"[1, 2]", "a JSON list; accepted is an object"),
        (b"{}", "name, seed, config, kernel is missing"),
        (gzip.compress(b'{"name": 1}')[:-9], "not a recording"),
        (b'{"name": "x", "seed": 1, "config": {}, "kernel": "6.1"}', "config.spec is missing"),
    ],
)
def test_a_file_that_is_no_recording(tmp_path, content, message):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValidationError, match=message):
        recording.load(tmp_path)


def test_a_spec_that_is_not_understood(tmp_path, known):
    data = {**known[0].data, "config": {**known[0].config, "spec": "region,kind=anon,pages=ten"}}
    (tmp_path / "x.json").write_text(json.dumps(data))
    (r,) = recording.load(tmp_path)
    with pytest.raises(ValidationError, match="region,kind=anon,pages=ten"):
        runner.replay(r)


def test_folders_without_what_is_asked_for(tmp_path):
    with pytest.raises(ValidationError, match="no such folder"):
        recording.load(tmp_path / "none")
    with pytest.raises(ValidationError, match=r"no recording matches '.99.' among 0 files"):
        recording.load(tmp_path, "99")


def test_the_page_draws_both_courses():
    chosen = recording.load(pattern="02_anon_uniform.s1")
    replays = list(runner.replay_all(chosen))
    pairs = score.pairs(chosen, {r.label: r.counters for r in replays})
    text = page.page(pairs, replays, chosen)
    drawn = [c for c in page.DRAWN if any(chosen[0].data["series"][c]) and any(replays[0].series[c])]
    assert text.count("<figcaption>") >= len(drawn) - 2  # levels that never leave 0 are not drawn
    assert text.count('class="kernel" points=') == text.count('class="sim" points=') == text.count("<svg")
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_json_has_one_object_per_pair():
    chosen = recording.load(pattern="13_nomemcg_ref.s1")
    replays = {r.label: r.counters for r in runner.replay_all(chosen)}
    pairs = score.pairs(chosen, replays)
    objects = json.loads(table.to_json(pairs))
    assert len(objects) == len(pairs) > 30
    assert set(objects[0]) == {"recording", "counter", "kind", "kernel", "simulated", "right"}
