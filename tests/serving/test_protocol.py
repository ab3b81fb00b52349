"""The deadlines of a connection, with a loop that only notes them."""

from __future__ import annotations

from types import SimpleNamespace

from recbole_raserec.serving.protocol import Connection


def test_a_client_that_reads_nothing_is_cut_and_one_that_reads_again_is_not():
    timers, closed = [], []

    class Loop:
        def call_later(self, seconds, what, *of):
            timers.append(SimpleNamespace(seconds=seconds, call=lambda: what(*of), cancelled=False))
            timers[-1].cancel = lambda timer=timers[-1]: vars(timer).update(cancelled=True)
            return timers[-1]

    flow = SimpleNamespace(pause_writing=lambda: None, resume_writing=lambda: None)
    client = Connection.__new__(Connection)
    client._timers, client.loop, client.flow = {}, Loop(), flow
    client.transport = SimpleNamespace(abort=lambda: closed.append("abort"))
    client.pause_writing()
    client.resume_writing()
    assert [(timer.seconds, timer.cancelled) for timer in timers] == [(Connection.timeout, True)]
    client.pause_writing()
    timers[-1].call()
    assert closed == ["abort"]
