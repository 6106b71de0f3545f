"""Calls posted to the loop: none is lost to another, and a loop that is late is known."""

from __future__ import annotations

import asyncio

from h2wsgi.seam.mailbox import Mailbox


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
