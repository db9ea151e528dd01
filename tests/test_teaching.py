"""Page replacement step by step: the tables of the textbooks, and Linux as its engine has it."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pymem
from pymem.errors import ScenarioError, SimulationError, TraceError, TunableError
from pymem.records import Op, pack
from pymem.simulation import build
from pymem.teaching import POLICIES, explain, explain_linux
from pymem.teaching.linux import _Explainer, watermarks_for
from pymem.teaching.references import parse_references, references_of

# Silberschatz, Galvin, Gagne: Operating System Concepts, the reference string of the chapter on virtual memory.
STRING = "7 0 1 2 0 3 0 4 2 3 0 3 2 1 2 0 1 7 0 1"
BELADY = "1 2 3 4 1 2 5 1 2 3 4 5"
# Frames after each access, worked out by hand; a dot stands for a hit.
TABLES = {
    "fifo": "7 70 701 201 . 231 230 430 420 423 023 . . 013 012 . . 712 702 701",
    "lru": "7 70 701 201 . 203 . 403 402 432 032 . . 132 . 102 . 107 . .",
    "opt": "7 70 701 201 . 203 . 243 . . 203 . . 201 . . . 701 . .",
}


@pytest.mark.parametrize("policy, faults", [("fifo", 15), ("lru", 12), ("opt", 9)])
def test_the_tables_of_the_textbook(policy, faults):
    told = explain(STRING, frames=3, policy=policy)
    before = ""
    for step, expected in zip(told.steps, TABLES[policy].split(), strict=True):
        frames = "".join("" if page is None else str(page) for page in step.frames)
        assert step.hit == (expected == ".")
        assert frames == (before if step.hit else expected)
        gone = set(before) - set(frames)
        assert step.victim == (int(gone.pop()) if gone else None)
        before = frames
    assert (told.faults, told.hits) == (faults, 20 - faults)


def test_beladys_anomaly():
    told = explain(BELADY, frames=3, policy="fifo")
    assert told.faults == 9
    assert explain(BELADY, frames=4, policy="fifo").faults == 10
    assert told.faults_by_frames == {1: 12, 2: 12, 3: 9, 4: 10, 5: 5}
    assert told.anomalies == [(3, 4)]
    assert explain(BELADY, frames=3, policy="lru").anomalies == []


def test_reasons():
    def why(policy, text, frames=3):
        return explain(text, frames=frames, policy=policy).steps[-1].why

    assert why("fifo", "1 2 3 1 4") == "came in first, at step 1"
    assert why("lru", "1 2 3 1 4") == "not used since step 2"
    assert why("mru", "1 2 3 1 4") == "used latest, at step 4"
    assert why("lfu", "1 1 2 2 3 4") == "used 1 time, least of all"
    assert why("lfu", "1 1 2 3 4") == "used 1 time, least of all (as 1 other), and not since step 3"
    assert why("clock", "1 2 3 4") == "hand passes 1 2 3, then 1 has bit 0"
    assert why("second-chance", "1 2 3 4 2 5") == "second chance for 2, then 3 has bit 0"
    # step 4 takes the frame of 1, whose next use is at step 7; 2 and 3 come sooner
    assert explain("1 2 3 4 2 3 1", frames=3, policy="opt").steps[3].why == "next used at step 7, later than all others"
    assert why("opt", "1 2 3 4") == "not used again"


def test_least_and_most():
    # LFU: 1 used twice; 2 and 3 once, 2 longer ago; then 3 and 4 once.  MRU: the last one in leaves.
    assert [s.victim for s in explain("1 1 2 3 4 2", policy="lfu").steps] == [None, None, None, None, 2, 3]
    assert [s.victim for s in explain("1 2 3 4 1 2 3", policy="mru").steps] == [None, None, None, 3, None, None, 2]


def test_2q():
    # 4 frames: A1in 1, A1out 2.  5 pushes 1 out of A1in; 1 comes back soon and goes to Am, where 6 does not reach it.
    told = explain("1 2 3 4 5 1 6 1", frames=4, policy="2q")
    assert [s.victim for s in told.steps] == [None] * 4 + [1, 2, 3, None]
    assert told.steps[5].why == "first in A1in, whose number is remembered in A1out; remembered in A1out: goes to Am"
    assert told.steps[-1].state == "A1in 4 5 6, A1out 2 3, Am 1"


def test_sieve():
    # 1 is spared and keeps its place; the hand goes on from there: 2, then 3, and not back to 1.
    told = explain("1 2 3 1 4 5 6", frames=3, policy="sieve")
    assert [s.victim for s in told.steps] == [None] * 4 + [2, 3, 4]


references = st.lists(st.integers(0, 9), min_size=1, max_size=80)
sizes = st.integers(1, 7)


@given(pages=references, frames=sizes)
def test_clock_and_second_chance_are_the_same(pages, frames):
    clock, chance = (explain(pages, frames=frames, policy=name) for name in ("clock", "second-chance"))
    assert [(s.hit, s.victim) for s in clock.steps] == [(s.hit, s.victim) for s in chance.steps]


@given(pages=references, frames=sizes)
def test_lru_by_stack_distance(pages, frames):
    told = explain(pages, frames=frames, policy="lru")
    for i, step in enumerate(told.steps):
        earlier = [j for j in range(i) if pages[j] == pages[i]]
        hit = bool(earlier) and len(set(pages[earlier[-1] : i])) <= frames
        assert step.hit == hit


@given(pages=references, frames=sizes)
@settings(max_examples=40)
def test_every_policy_keeps_to_the_rules(pages, frames):
    best = explain(pages, frames=frames, policy="opt")
    for name in POLICIES:
        told = explain(pages, frames=frames, policy=name, seed=3)
        assert told.faults >= best.faults
        inside: set = set()
        for step in told.steps:
            assert step.hit == (step.page in inside)
            assert (step.victim is not None) == (not step.hit and len(inside) == frames)
            inside = (inside - {step.victim}) | {step.page}
            assert sorted(page for page in step.frames if page is not None) == sorted(inside)
            assert step.frames[step.frame] == step.page
        assert told.faults_by_frames.get(frames, told.faults) == told.faults
        if name in ("lru", "opt"):
            assert told.anomalies == []  # stack algorithms


def test_writes():
    told = explain("1:w 2 3 4 1 5", frames=3, policy="fifo")
    assert [s.dirty for s in told.steps] == [False, False, False, True, False, False]
    assert told.writebacks == 1


# ---- references ------------------------------------------------------------------------------------------------


def test_reference_strings():
    assert parse_references("7, 0 1:w\n# a comment\nA f2") == [
        (7, False), (0, False), (1, True), ("A", False), ("f2", False),
    ]  # fmt: skip
    assert references_of(np.array([3, 1])) == [(3, False), (1, False)]
    assert references_of([("A", True)]) == [("A", True)]


@pytest.mark.parametrize(
    "text, message",
    [
        ("1 2\n3 x-y", r"reference string, line 2: 'x-y' is no page"),
        (" \n", "no access in it"),
        ([], "accesses: there are none"),
        ([None], "accesses: None"),
    ],
)
def test_what_is_no_reference(text, message):
    with pytest.raises(TraceError, match=message):
        explain(text)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"policy": "best"}, r"policy: 'best'; accepted are fifo, lru"),
        ({"frames": 0}, r"frames: 0; accepted is 1 to"),
        ({"frames": True}, "frames: True"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ScenarioError, match=message):
        explain("1 2", **settings)


# ---- Linux ---------------------------------------------------------------------------------------------------------


CYCLE = " ".join(map(str, list(range(12)) * 3))
MIXED = "0 1 2 3 f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 0 1 f13 f14 f15 f16 f1 f2 f1 f17 0 2:w 3 f1 f18 f19 f20"


@pytest.mark.engine
@pytest.mark.parametrize("frames", [8, 16, 40])
def test_so_many_pages_fit_above_the_high_watermark(frames):
    told = explain_linux(range(frames + 1), frames=frames)
    assert told.steps[frames - 1].free == told.watermarks[2] == watermarks_for(frames)[2]
    last, one_more = told.steps[frames - 1 :]
    assert one_more.free + one_more.percpu == last.free + last.percpu - 1
    assert told.counters["pgfault"] == frames + 1
    assert "pgscan_kswapd" not in told.counters


@pytest.mark.engine
@pytest.mark.parametrize("text, frames, kernel", [(CYCLE, 8, "6.12"), (CYCLE, 10, "6.1"), (MIXED, 12, "6.12")])
def test_watching_changes_nothing(text, frames, kernel):
    """The same machine, fed all at once and never stopped, comes to the same counters."""
    told = explain_linux(text, frames=frames, kernel=kernel)
    explainer = _Explainer(references_of(text), frames, 1_000_000, {}, kernel, "nvme")
    engine, tasks = build(explainer.scenario)
    engine.start()
    thread = next(iter(tasks))
    touched, records = set(), []
    for page, write in references_of(text):
        index = explainer.number[page]
        store = write or (index < explainer.anon and index not in touched)
        touched.add(index)
        records += [pack(index, Op.STORE if store else Op.LOAD), pack(1_000_000, Op.SLEEP)]
    records = np.array(records, np.uint64)
    fed = False
    while True:
        reason, _ = engine.run()
        if reason == "chunk":
            if fed:
                break
            # the explained run begins with a task that has run once already
            before = engine.events_count()
            engine.feed(thread, records, False)
            fed = True
    after = engine.events_count()
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == told.counters
    # and the lists are those of the engine
    last = told.steps[-1].lists
    for lru, name in enumerate(("inactive_anon", "active_anon", "inactive_file", "active_file")):
        names = [
            explainer.names[index if file == 0 else explainer.anon + index] for file, index in engine.lru_order(0, lru)
        ]
        assert [page.rstrip("*rwdsW") for page in last[name]] == names


@pytest.mark.engine
def test_refault_distances_follow_from_the_shadows():
    told = explain_linux(CYCLE, frames=8)
    age, shadow, distances = 0, {}, 0
    for step in told.steps:
        if step.refault is not None:
            distances += 1
            assert step.refault == age - shadow[str(step.page)]
            assert step.kind == "major fault"
        for line in step.events:
            assert "promoted" not in line  # activations would count too
            if "shadow remembers age" in line:
                shadow[line.split(":")[0]] = int(line.rsplit(" ", 1)[1])
                assert shadow[line.split(":")[0]] == age
                age += 1
    assert distances >= 12
    assert age == told.counters["pgsteal_anon"]


@pytest.mark.engine
def test_second_chance_and_promotion():
    # 10 comes in while kswapd works, which spares it; used again, it is found accessed a second time in the next round.
    told = explain_linux("0 1 2 3 4 5 6 7 8 9 10 10 11 12 13 14 15 16 17 18 19 20", frames=8)
    lines = [line for step in told.steps for line in step.events]
    kept = "10: kept: accessed since the last look; this bit is cleared, referenced set, to the head of its list"
    assert kept in lines
    promoted = "10: promoted to active_anon: accessed again, and referenced was set"
    assert lines.index(promoted) > lines.index(kept)
    assert told.counters["pgactivate"] == sum("promoted" in line or "set aside" in line for line in lines)
    assert lines.count("kswapd wakes: free memory fell below low (8)") >= 1


@pytest.mark.engine
def test_every_page_looked_at_is_told():
    told = explain_linux(CYCLE, frames=8)
    lines = [line for step in told.steps for line in step.events]
    assert sum("shadow remembers" in line for line in lines) == told.counters["pgsteal_anon"]
    assert sum("write begins" in line for line in lines) == told.counters["pswpout"]
    assert sum(step.kind == "major fault" for step in told.steps) == told.counters["pgmajfault"]
    looks = ("kept:", "gets swap slot", "shadow remembers", "promoted", "set aside")
    assert sum(any(look in line for look in looks) for line in lines) == told.counters["pgscan_anon"]


@pytest.mark.engine
def test_without_a_pause_the_program_has_to_reclaim():
    told = explain_linux(range(60), frames=8, pause=0, swap="hdd")
    assert any(line.startswith("direct reclaim begins") for step in told.steps for line in step.events)
    assert told.counters["pgscan_direct"] > 0


@pytest.mark.engine
def test_settings_of_the_machine_count():
    # swappiness 0 spares anonymous memory as long as there is page cache
    stream = [*range(12), *(f"f{i}" for i in range(40))]
    text = " ".join(map(str, stream))
    spared, taken = (explain_linux(text, frames=24, vm={"swappiness": n}).counters for n in (0, 200))
    assert spared.get("pswpout", 0) < taken["pswpout"]


def test_wrong_settings_of_linux():
    with pytest.raises(ScenarioError, match="frames: 3; accepted is 4 to"):
        explain_linux("1", frames=3)
    with pytest.raises(TunableError, match="unknown tunable"):
        explain_linux("1", vm={"swapiness": 1})
    with pytest.raises(ScenarioError, match="kernel: '5'"):
        explain_linux("1", kernel="5")
    with pytest.raises(ScenarioError, match="pause"):
        explain_linux("1", pause="soon")
    assert issubclass(SimulationError, pymem.PymemError)


# ---- the command --------------------------------------------------------------------------------------------


def run(capsys, monkeypatch, *args, stdin=""):
    from pymem.cli import main

    monkeypatch.setattr(sys, "argv", ["pymem", "explain", *map(str, args)])
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    try:
        main()
        code = 0
    except SystemExit as error:
        code = error.code or 0
    return code, *capsys.readouterr()


def test_the_command(capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, BELADY, "--policy", "fifo")
    assert code == 0
    assert "12 accesses, 9 faults, 3 hits (25.0%)" in out
    assert "Belady's anomaly: 4 frames have 10 faults, 3 frames only 9" in out
    assert out.splitlines()[4].split()[:7] == ["4", "4", "fault", "4", "2", "3", "1"]  # step, page, frames, victim
    assert run(capsys, monkeypatch, "--string", BELADY, "--policy", "fifo")[1] == out
    assert run(capsys, monkeypatch, "-", "--policy", "fifo", stdin=BELADY)[1] == out
    code, out, _ = run(capsys, monkeypatch, BELADY, "--policy", "fifo", "--json")
    told = json.loads(out)
    assert (told["faults"], told["anomalies"], len(told["steps"])) == (9, [[3, 4]], 12)


def test_traces_of_other_formats(capsys, monkeypatch, tmp_path):
    lackey = "".join(f" {op} {page << 12:x},8\n" for op, page in [("L", 7), ("S", 3), ("L", 9), ("L", 7)])
    path = tmp_path / "a.lackey"
    path.write_text("==1== Lackey, an example Valgrind tool\n==1== Command: true\n" + lackey)
    code, out, _ = run(capsys, monkeypatch, path, "--format", "lackey", "--json")
    assert code == 0
    steps = json.loads(out)["steps"]
    assert [(s["page"], s["write"], s["hit"]) for s in steps] == [
        (1, False, False), (0, True, False), (2, False, False), (1, False, True),
    ]  # fmt: skip
    names = sorted(p.stem for p in (Path(pymem.__file__).parent / "data" / "traces").glob("*.pmt"))
    code, out, _ = run(capsys, monkeypatch, f"builtin:{names[0]}", "--limit", "50", "--json")
    assert len(json.loads(out)["steps"]) == 50


def test_the_command_with_linux(capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, CYCLE, "--linux", "--frames", "8", "--set", "swappiness=100")
    assert code == 0
    assert "10. store 9: minor fault" in out
    assert "     kswapd wakes: free memory fell below low (8)" in out
    assert "36 accesses" in out
    code, again, _ = run(capsys, monkeypatch, CYCLE, "--linux", "--frames", "8", "--json")
    assert len(json.loads(again)["steps"]) == 36


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "error: what to explain: accepted is either a trace or --string"),
        (["1 2", "--string", "1"], "error: what to explain"),
        (["/nowhere"], "error: /nowhere: No such file"),
        (["1 2", "--policy", "x"], "error: policy: 'x'; accepted are fifo"),
        (["1 2 -"], "error: the string, line 1: '-' is no page"),
        (["1 2", "--linux", "--set", "x"], "error: --set x: not understood"),
        (["1 2", "--linux", "--frames", "2"], "error: frames: 2; accepted is 4"),
    ],
)
def test_mistakes_are_one_line(args, message, capsys, monkeypatch):
    code, out, err = run(capsys, monkeypatch, *args)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
