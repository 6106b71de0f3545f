"""Calls posted to the loop: none is lost to another, and a loop that is late is known."""

from __future__ import annotations

import asyncio
import os

import pytest

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
            await asyncio.wait_for(done.wait(), 10)
        finally:
            mailbox.close()

    asyncio.run(post())
    assert made == ["reported", "made"]


# ------- the mailbox of a server that stops: what is posted late is done as long as the loop runs


@pytest.mark.parametrize("about_to_wait", [False, True])
def test_what_is_posted_after_the_mailbox_has_closed_is_done(about_to_wait: bool) -> None:
    async def post() -> bool:
        mailbox = Mailbox(asyncio.get_running_loop())
        mailbox.close()
        done = asyncio.Event()
        await asyncio.to_thread(mailbox.post_threadsafe, done.set, about_to_wait)
        await asyncio.wait_for(done.wait(), 10)
        return done.is_set()

    assert asyncio.run(post())


def test_a_mailbox_that_has_closed_writes_to_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has the number of its own by then is not its business, nor is any other."""
    written: list[int] = []

    async def post() -> None:
        mailbox = Mailbox(asyncio.get_running_loop())
        mailbox.close()
        if hasattr(os, "eventfd"):
            monkeypatch.setattr(os, "eventfd_write", lambda fd, value: written.append(fd))
        done = asyncio.Event()
        mailbox.post_threadsafe(done.set, True)
        mailbox.close()
        await asyncio.wait_for(done.wait(), 10)

    asyncio.run(post())
    assert not written


def test_closing_twice_closes_no_descriptor_of_others() -> None:
    async def close() -> None:
        mailbox = Mailbox(asyncio.get_running_loop())
        mailbox.close()
        reader, writer = os.pipe()  # may have the number that was the mailbox's
        mailbox.close()
        os.write(writer, b"x")
        assert os.read(reader, 1) == b"x"
        os.close(reader)
        os.close(writer)

    asyncio.run(close())
