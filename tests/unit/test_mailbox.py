"""Calls posted to the loop: none is lost to another, and a loop that is late is known."""

from __future__ import annotations

import asyncio
import time

from h2wsgi.mailbox import LATE, Mailbox


def test_the_mailbox_tells_when_the_loop_was_woken_and_does_not_come():
    async def post() -> list[bool]:
        mailbox = Mailbox(asyncio.get_running_loop())
        told = [mailbox.is_late_threadsafe()]
        done = asyncio.Event()
        mailbox.post_threadsafe(done.set)
        time.sleep(2 * LATE)
        told.append(mailbox.is_late_threadsafe())
        try:
            await asyncio.wait_for(done.wait(), 2)
            time.sleep(2 * LATE)
            return [*told, mailbox.is_late_threadsafe()]
        finally:
            mailbox.close()

    assert asyncio.run(post()) == [False, True, False]


def test_a_call_that_fails_takes_no_other_out_of_the_mailbox():
    made: list[str] = []

    def fail() -> None:
        raise ValueError("one connection's bug")

    async def post() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: made.append("reported"))
        done = asyncio.Event()
        mailbox = Mailbox(loop)
        for call in (fail, lambda: made.append("made"), done.set):
            mailbox.post_threadsafe(call)
        try:
            await asyncio.wait_for(done.wait(), 2)
        finally:
            mailbox.close()

    asyncio.run(post())
    assert made == ["reported", "made"]
