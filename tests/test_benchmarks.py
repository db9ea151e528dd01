"""The benchmarks run: their machines fit the engine, and every mechanism does what it is named for."""

import pytest

from benchmarks import cases, mechanisms
from benchmarks.machine import machine_with_task, play


def test_the_plain_machine_of_the_benchmarks():
    engine, thread = machine_with_task(2048, 4096, 8192)
    play(engine, thread, cases.first_touch(4096))
    counts = engine.events_count()
    assert counts["pgfault"] == 4096
    assert counts["pswpout"] > 2000
    engine.verify()


@pytest.mark.parametrize("mechanism", mechanisms.MECHANISMS, ids=lambda m: m.name)
def test_a_mechanism_is_at_work(mechanism):
    assert mechanisms.units(mechanism, mechanisms.prepare(mechanism)()) > 0
