"""madvise, mlock, munmap and the other things programs ask for, on a machine with room for all."""

import numpy as np
import pytest
from lab import MS, SECOND, Lab, Script, anon, file, finish, load, machine, op, sleep, store
from test_faults import ALONE

from pymem import Scenario, SwapDevice, Task
from pymem.errors import SimulationError
from pymem.records import Op
from pymem.simulation import Simulation

pytestmark = pytest.mark.engine

ROOMY = machine(4096, swap=[SwapDevice("16MiB")])


def test_dontneed_frees_and_reads_zeroes_afterwards():
    lab = Lab(ROOMY, a=[anon(100)])
    lab.do("a", store(range(50)))
    moved = lab.do("a", op(Op.DONTNEED, 10, 20))
    assert moved.pick("nr_anon_pages", "nr_inactive_anon", "pgfree") == {
        "nr_anon_pages": -20, "nr_inactive_anon": -20, "pgfree": 20,
    }  # fmt: skip
    assert lab.do("a", load(range(50))).pick("pgfault", "nr_anon_pages") == {"pgfault": 20, "nr_anon_pages": 0}


def test_dontneed_of_swapped_pages_frees_slots():
    lab = Lab(ROOMY, a=[anon(100)])
    lab.do("a", store(range(8)), op(Op.PAGEOUT, 0, 8), sleep(SECOND))
    moved = lab.do("a", op(Op.DONTNEED, 0, 100))
    assert moved.pick("nr_swapcached", "pgfree") == {"nr_swapcached": -8, "pgfree": 8}
    assert lab.task("a")["swapents"] == 0


def test_dontneed_of_a_file_only_unmaps():
    lab = Lab(ROOMY, a=[file(8)], vm=ALONE)
    lab.do("a", load(range(8)))
    moved = lab.do("a", op(Op.DONTNEED, 0, 8))
    assert moved.pick("nr_mapped", "nr_file_pages", "pgfree") == {"nr_mapped": -8, "nr_file_pages": 0, "pgfree": 0}
    assert lab.do("a", load(range(8))).pick("pgfault", "pgmajfault") == {"pgfault": 8, "pgmajfault": 0}


def test_free_is_lazy():
    """The pages go to the inactive file list, where reclaim throws them away without writing."""
    lab = Lab(ROOMY, a=[anon(100)])
    lab.do("a", store(range(20)))
    moved = lab.do("a", op(Op.FREE, 0, 20))
    assert moved.pick("pglazyfree", "nr_inactive_anon", "nr_inactive_file", "nr_anon_pages", "pgfree") == {
        "pglazyfree": 20, "nr_inactive_anon": -20, "nr_inactive_file": 20, "nr_anon_pages": 0, "pgfree": 0,
    }  # fmt: skip
    gone = lab.do("a", op(Op.PAGEOUT, 0, 20))
    assert gone.pick("pglazyfreed", "pswpout", "nr_anon_pages", "pgfree") == {
        "pglazyfreed": 20, "pswpout": 0, "nr_anon_pages": -20, "pgfree": 20,
    }  # fmt: skip
    assert lab.task("a")["swapents"] == 0


def test_a_store_after_free_keeps_the_page():
    lab = Lab(ROOMY, a=[anon(100)])
    lab.do("a", store(range(20)), op(Op.FREE, 0, 20), store(range(5)))
    moved = lab.do("a", op(Op.PAGEOUT, 0, 20), sleep(SECOND))
    assert moved["pglazyfreed"] == 15
    assert lab.task("a")["rss_anon"] + lab.task("a")["swapents"] == 5


def test_cold_deactivates():
    lab = Lab(ROOMY, a=[file(64)], vm=ALONE)
    lab.do("a", load(range(8)))
    lab.do("a", op(Op.READ, 0, 8), op(Op.READ, 20), op(Op.READ, 0, 8))
    assert lab.counts()["nr_active_file"] == 8
    moved = lab.do("a", op(Op.COLD, 0, 8))
    assert moved.pick("pgdeactivate", "nr_active_file", "nr_inactive_file", "nr_mapped") == {
        "pgdeactivate": 8, "nr_active_file": -8, "nr_inactive_file": 8, "nr_mapped": 0,
    }  # fmt: skip


def test_willneed_reads_without_waiting():
    lab = Lab(ROOMY, a=[file(512)])
    before = lab.engine.now
    moved = lab.do("a", op(Op.WILLNEED, 100, 64))
    assert moved.pick("pgpgin", "nr_file_pages", "nr_mapped") == {"pgpgin": 4 * 64, "nr_file_pages": 64, "nr_mapped": 0}
    assert lab.engine.now - before < 80_000  # less than one read
    lab.do("a", sleep(SECOND))
    assert lab.do("a", load(range(100, 164)))["pgmajfault"] == 0


def test_willneed_reads_swap():
    lab = Lab(machine(1024, swap=[SwapDevice("16MiB")]), a=[anon(2000)])
    lab.do("a", store(range(1500)), sleep(SECOND))
    moved = lab.do("a", op(Op.WILLNEED, 0, 10), sleep(SECOND))
    assert moved.pick("pswpin", "pgmajfault") == {"pswpin": 10, "pgmajfault": 0}
    assert lab.do("a", load(range(10))).pick("pgfault", "pgmajfault", "pswpin") == {
        "pgfault": 10, "pgmajfault": 0, "pswpin": 0,
    }  # fmt: skip


def test_random_mappings_do_not_read_around():
    lab = Lab(ROOMY, a=[file(512)])
    lab.do("a", op(Op.RANDOM, 0, 512))
    assert lab.do("a", load(100)).pick("pgpgin", "pgmajfault") == {"pgpgin": 4, "pgmajfault": 1}
    lab.do("a", op(Op.NORMAL, 0, 512))
    assert lab.do("a", load(300))["pgpgin"] == 4 * 32


def test_sequential_mappings_read_ahead():
    """From the fault on, a whole window and, as the reader is about to hit its mark, nothing before."""
    lab = Lab(ROOMY, a=[file(512)])
    lab.do("a", op(Op.SEQUENTIAL, 0, 512))
    moved = lab.do("a", load(0))
    assert moved["pgpgin"] >= 4 * 32
    majors = lab.do("a", load(range(512)))["pgmajfault"]
    assert majors <= 512 // 32
    assert lab.counts()["nr_file_pages"] == 512


def test_mlock_faults_everything_in_and_keeps_it():
    lab = Lab(ROOMY, a=[anon(100), file(10)], vm=ALONE)
    lab.do("a", store(range(5)), load(range(5, 8)))
    moved = lab.do("a", op(Op.MLOCK, 0, 20))
    # 3 zero pages become real ones, 12 are new
    assert moved.pick("nr_anon_pages", "nr_mlock", "nr_unevictable", "nr_inactive_anon", "unevictable_pgs_mlocked") == {
        "nr_anon_pages": 15, "nr_mlock": 20, "nr_unevictable": 20, "nr_inactive_anon": -5,
        "unevictable_pgs_mlocked": 20,
    }  # fmt: skip
    assert lab.task("a")["locked_vm"] == 20
    assert lab.do("a", op(Op.PAGEOUT, 0, 20), op(Op.DONTNEED, 0, 20), op(Op.FREE, 0, 20))["nr_anon_pages"] == 0
    moved = lab.do("a", op(Op.MUNLOCK, 0, 20))
    assert moved.pick("nr_mlock", "nr_unevictable", "unevictable_pgs_munlocked", "unevictable_pgs_rescued") == {
        "nr_mlock": -20, "nr_unevictable": -20, "unevictable_pgs_munlocked": 20, "unevictable_pgs_rescued": 20,
    }  # fmt: skip
    assert lab.task("a")["locked_vm"] == 0


def test_mlock_of_a_file():
    lab = Lab(ROOMY, a=[file(10)], vm=ALONE)
    assert lab.do("a", op(Op.MLOCK, 0, 10)).pick("nr_mlock", "nr_unevictable", "nr_mapped", "pgmajfault") == {
        "nr_mlock": 10, "nr_unevictable": 10, "nr_mapped": 10, "pgmajfault": 10,
    }  # fmt: skip
    moved = lab.exit("a")
    assert moved.pick("nr_mlock", "nr_unevictable", "nr_file_pages") == {
        "nr_mlock": -10, "nr_unevictable": -10, "nr_file_pages": 0,
    }  # fmt: skip


def test_reclaim_passes_locked_memory_by():
    lab = Lab(machine(1024, swap=[SwapDevice("16MiB")]), a=[anon(2000)])
    lab.do("a", op(Op.MLOCK, 0, 300), store(range(300, 1800)), sleep(SECOND))
    assert lab.counts()["nr_unevictable"] == 300
    assert lab.do("a", store(range(300)))["pgfault"] == 0


def test_regions_locked_from_the_start():
    lab = Lab(ROOMY, a=[anon(100, locked=True)])
    assert lab.do("a", store(range(7))).pick("nr_mlock", "nr_unevictable") == {"nr_mlock": 7, "nr_unevictable": 7}


def test_munmap_leaves_a_hole_until_mapped_again():
    lab = Lab(ROOMY, a=[anon(100)])
    lab.do("a", store(range(100)))
    assert lab.task("a")["total_vm"] == 100
    assert lab.do("a", op(Op.MUNMAP, 20, 30))["nr_anon_pages"] == -30
    assert lab.task("a")["total_vm"] == 70
    # operations skip the hole
    assert lab.do("a", op(Op.DONTNEED, 0, 100))["nr_anon_pages"] == -70
    lab.do("a", op(Op.MMAP, 20, 30))
    assert lab.task("a")["total_vm"] == 100
    assert lab.do("a", store(range(20, 50)))["nr_anon_pages"] == 30


def test_a_hole_cannot_be_touched():
    program = Script([anon(100)], op(Op.MUNMAP, 20, 30), load(25))
    simulation = Simulation(Scenario(machine=ROOMY, tasks=[Task("t", program)]))
    with pytest.raises(SimulationError, match="page 25"):
        finish(simulation)


def test_exit_ends_the_program_early():
    program = Script([anon(100)], op(Op.EXIT), store(range(50)))
    joined = Script([anon(100)], np.concatenate([store(3), op(Op.EXIT), store(range(50))]))
    result = finish(Simulation(Scenario(machine=ROOMY, tasks=[Task("t", joined)])))
    assert result.tasks["t"].accesses == 1
    assert result.tasks["t"].state == "finished"
    assert finish(Simulation(Scenario(machine=ROOMY, tasks=[Task("t", program)]))).tasks["t"].accesses == 0


def test_sleep_passes_time():
    lab = Lab(ROOMY, a=[anon(1)])
    before = lab.engine.now
    lab.do("a", sleep(7 * MS))
    # and the switch back to the task
    assert 7 * MS <= lab.engine.now - before < 7 * MS + 100_000
