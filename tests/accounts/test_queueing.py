"""Which commands form the next pipeline; tests/accounts/test_pipelining.py sends them."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featsvc.accounts.connections import Command, Reply
from featsvc.accounts.queueing import (
    PIPELINE_WORK,
    SMALL_WORK,
    CallQueue,
    PendingCall,
    Piece,
    fits_pipeline,
    work_of,
)


def read(fields: int) -> Command:
    return ("HMGET", b"key", *(b"%d" % n for n in range(fields)))


MOST_FIELDS = SMALL_WORK - work_of(read(0))
"""Fields of the largest small command."""


@pytest.fixture
def call() -> Callable[..., PendingCall]:
    """Make a call of commands, outside of a running loop."""
    loop = asyncio.new_event_loop()
    loop.close()
    return lambda *commands, tick=0: PendingCall(commands, loop.create_future(), tick=tick)


def taken(pieces: Sequence[Piece]) -> list[tuple[PendingCall, int, int]]:
    return [(piece.call, piece.start, piece.stop) for piece in pieces]


def test_work_is_that_of_fields_and_of_a_script_s_bytes() -> None:
    assert work_of(read(100)) - work_of(read(50)) == 50
    short: Command = ("EVALSHA", "s" * 40, 1, b"key", b"x" * 400)
    long: Command = ("EVALSHA", "s" * 40, 1, b"key", b"x" * 4000)
    assert work_of(long) - work_of(short) == 900
    assert work_of(("EVAL", "a long text" * 1000, 1, b"key", b"x" * 400, 7)) < 2 * work_of(short)


def test_small_calls_share_a_pipeline_up_to_its_bound(call: Callable[..., PendingCall]) -> None:
    queue = CallQueue()
    calls = [call(read(MOST_FIELDS)) for _ in range(5)]
    for one in calls:
        queue.add(one)
    assert taken(queue.take_small()) == [(one, 0, 1) for one in calls[:4]]
    assert taken(queue.take_small()) == [(calls[4], 0, 1)]
    assert not queue


def test_small_calls_do_not_wait_behind_large_ones(call: Callable[..., PendingCall]) -> None:
    queue = CallQueue()
    large, small = call(*[read(100)] * 1000), call(read(MOST_FIELDS))
    queue.add(large)
    queue.add(small)
    assert taken(queue.take_small()) == [(small, 0, 1)]
    assert not queue.take_small()
    assert queue


def test_large_calls_take_turns(call: Callable[..., PendingCall]) -> None:
    queue = CallQueue()
    first, second = call(*[read(100)] * 1000), call(*[read(100)] * 30)
    queue.add(first)
    queue.add(second)
    calls = [[piece.call for piece in queue.take_large(0)] for _ in range(4)]
    assert calls == [[first], [second], [first], [second]]


def test_a_call_that_fits_stays_in_one_pipeline(call: Callable[..., PendingCall]) -> None:
    queue = CallQueue()
    commands = [read(94)] * (PIPELINE_WORK // 100)
    assert fits_pipeline(commands)
    assert not fits_pipeline([*commands, *commands])
    whole = [call(*commands[:12]), call(*commands[:12])]
    for one in whole:
        queue.add(one)
    assert [taken(queue.take_large(0)) for _ in whole] == [[(one, 0, 12)] for one in whole]


def test_calls_that_have_waited_too_long_leave(call: Callable[..., PendingCall]) -> None:
    queue = CallQueue()
    sizes = 1, 1, 1000, 1000
    calls = [call(*[read(9)] * size, tick=n) for n, size in enumerate(sizes)]
    for one in calls:
        queue.add(one)
    assert len(queue.take_large(5)) == 1  # a piece of calls[2], which then waits since 5
    assert list(queue.take_older(4)) == [calls[0], calls[1], calls[3]]
    assert queue.clear() == [calls[2]]


def test_calls_that_are_done_are_not_sent(call: Callable[..., PendingCall]) -> None:
    queue = CallQueue()
    for one in (call(read(1)), call(*[read(9)] * 1000)):
        one.future.cancel()
        queue.add(one)
    assert queue.take_small() == queue.take_large(0) == []
    assert not queue


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.booleans()), min_size=1, max_size=60),
    st.integers(0, 3),
)
def test_every_command_is_sent_once_and_answered_in_its_place(
    sizes: list[tuple[int, bool]], others: int
) -> None:
    """Pieces are bounded, but for one command too many, and ASKING precedes its command."""
    loop = asyncio.new_event_loop()
    loop.close()
    commands: list[Command] = []
    for size, asking in sizes:
        commands += [("ASKING",), read(size)] if asking else [read(size)]
    queue = CallQueue()
    calls = [PendingCall(commands, loop.create_future(), tick=0) for _ in range(others + 1)]
    for one in calls:
        queue.add(one)
    pipelines = []
    while queue:
        pieces = queue.take_small() or queue.take_large(0)
        assert pieces
        pipelines.append(pieces)
    for pieces in pipelines:
        sent = [command for piece in pieces for command in piece.commands]
        assert sum(map(work_of, sent[:-2])) <= PIPELINE_WORK
        assert sent[-1] != ("ASKING",)
    for pieces in reversed(pipelines):  # replies may come in any order
        for piece in pieces:
            replies: list[Reply] = list(range(piece.start, piece.stop))
            piece.call.resolve(piece.start, replies)
    assert all(one.future.result() == list(range(len(commands))) for one in calls)
