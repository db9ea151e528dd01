"""Slow, readable model of time on a machine with one CPU: threads, timers, block devices.

A thread is a generator. It yields None when it gives up the CPU, and a reason when it wants to return to the
caller of `run`; functions that may take time are generators too and are called with ``yield from``.
"""

from collections import deque

NEVER = 1 << 62
SECOND = 1_000_000_000
PSI_PERIOD = 2 * SECOND
WAKEUP_BONUS = 3_000_000  # virtual time a waking thread gets for free at most
WAKEUP_GRANULARITY = 1_000_000  # it runs at once if it is this far behind


class Thread:
    def __init__(self, name, body):
        self.name = name
        self.body = body
        self.blocked = True
        self.vruntime = 0
        self.run_start = 0
        self.ready_since = 0
        self.plug = []  # requests (lists of neighbouring pages) it has not handed to the device yet


class Device:
    """Requests start when the device may take another one and complete one latency later.

    Those that continue their predecessor on the medium, in flight still, cost their share of the bandwidth only.
    """

    def __init__(self, read_ns, write_ns, queue_depth, bandwidth):
        self.latency = {"read": read_ns, "write": write_ns}
        self.page_ns = 4096 * SECOND // bandwidth
        self.depth = queue_depth
        self.next_start = 0
        self.last = (None, None)  # direction, place
        self.last_done = {"read": 0, "write": 0}
        self.flying = {"read": deque(), "write": deque()}  # (time of completion, page)

    def submit(self, way, page, place, now):
        """Time of completion. `place` is the page number on the medium."""
        if self.last == (way, place - 1) and self.last_done[way] > now:
            done = self.last_done[way] + self.page_ns
            self.next_start += self.page_ns
        else:
            start = max(now, self.next_start)
            done = max(start + self.latency[way], self.last_done[way])
            self.next_start = start + max(self.latency[way] // self.depth, self.page_ns)
        self.last = (way, place)
        self.last_done[way] = done
        self.flying[way].append((done, page))
        return done

    def next_done(self):
        return min((queue[0][0] for queue in self.flying.values() if queue), default=NEVER)

    def complete(self):
        """Direction and page of the earliest completion, reads first."""
        at = self.next_done()
        way = next(way for way, queue in self.flying.items() if queue and queue[0][0] == at)
        return way, self.flying[way].popleft()[1]


class Clock:
    """One CPU, its queue of runnable threads, and everything that happens at a time of its own.

    As in CFS, the runnable thread with the least virtual run time comes next. The running thread looks at the
    clock when its deadline has passed; its run time is accounted then, and when another one wakes.
    """

    def __init__(self, costs):
        self.costs = costs
        self.now = 0
        self.cpu_time = 0  # how far the CPU has got
        self.deadline = 0
        self.slice_end = 0
        self.min_vruntime = 0
        self.on_cpu = None  # the thread that has the CPU
        self.running = None  # the same while its own code runs
        self.queue = []  # others that could run, next one first
        self.timers = []  # (time, number, thread), or a period, for which `periodic` is called
        self.timer_number = 0
        self.devices = []
        self.add_timer(PSI_PERIOD, PSI_PERIOD)
        self.add_timer(SECOND, SECOND)

    # ---- events

    def add_timer(self, at, thread):
        self.timer_number += 1
        self.timers.append((at, self.timer_number, thread))

    def first_timer(self):
        return min(self.timers, key=lambda timer: timer[:2])

    def next_event(self):
        return min([self.first_timer()[0]] + [device.next_done() for device in self.devices])

    def one_event(self, at):
        """Completions come first, then timers in the order they were set."""
        self.now = at
        for device in self.devices:
            if device.next_done() == at:
                self.end_io(*device.complete())
                return
        timer = self.first_timer()
        self.timers.remove(timer)
        if isinstance(timer[2], int):
            if timer[2] == SECOND:
                self.every_second()
            self.add_timer(at + timer[2], timer[2])
        else:
            self.wake(timer[2])

    def events_until(self, until):
        while self.next_event() <= until:
            self.one_event(self.next_event())

    # ---- threads

    def wake(self, thread):
        if not thread.blocked:
            return
        self.timers = [timer for timer in self.timers if timer[2] is not thread]
        thread.blocked = False
        if self.on_cpu:
            self.account(self.on_cpu, self.now if self.running else self.cpu_time)
        thread.vruntime = max(thread.vruntime, self.min_vruntime - WAKEUP_BONUS)
        thread.ready_since = self.now
        if self.on_cpu is None:
            self.dispatch(thread)
        else:
            self.enqueue(thread)
            other = self.on_cpu.vruntime
            if thread.vruntime + WAKEUP_GRANULARITY < other or other == 0:
                self.slice_end = min(self.slice_end, self.now)
        if self.running:
            self.deadline = min(self.deadline, self.slice_end)

    def enqueue(self, thread):
        before = [other for other in self.queue if other.vruntime <= thread.vruntime]
        self.queue.insert(len(before), thread)

    def dispatch(self, thread):
        self.cpu_time = max(self.cpu_time, thread.ready_since) + self.costs["context_switch"]
        self.slice_end = self.cpu_time + self.costs["sched_slice"]
        self.on_cpu = thread
        thread.run_start = self.cpu_time

    def pick_next(self):
        self.on_cpu = None
        if self.queue:
            self.dispatch(self.queue.pop(0))

    def account(self, thread, until):
        if until > thread.run_start:
            thread.vruntime += until - thread.run_start
            thread.run_start = until
        self.min_vruntime = max(self.min_vruntime, thread.vruntime)

    def set_deadline(self):
        self.deadline = self.next_event()
        if self.queue:
            self.deadline = min(self.deadline, self.slice_end)

    # ---- what the running thread may do

    def charge(self, ns):
        """Work for `ns`; others may get their turn."""
        self.now += ns
        yield from self.look_up()

    def look_up(self):
        if self.now < self.deadline:
            return
        mine = self.now
        self.events_until(mine)
        self.now = mine
        self.account(self.running, self.now)
        self.cpu_time = self.now
        if self.queue and mine >= self.slice_end:
            self.running.ready_since = mine
            self.enqueue(self.running)
            self.pick_next()
            yield
        else:
            self.set_deadline()

    def sleep(self, ns=None):
        """Until woken, or for `ns`."""
        self.account(self.running, self.now)
        self.cpu_time = self.now
        self.running.blocked = True
        if ns is not None:
            self.add_timer(self.now + ns, self.running)
        self.pick_next()
        yield

    def run(self):
        """Until a thread yields a reason, which is returned; that thread goes on first, as if nothing had been."""
        while True:
            if self.running is None:
                if self.on_cpu is None:
                    self.one_event(self.next_event())
                    continue
                self.events_until(self.cpu_time)
                self.running = self.on_cpu
                self.now = self.running.run_start = self.cpu_time
                self.set_deadline()
            reason = next(self.running.body)
            if reason:
                return reason
            self.running = None
