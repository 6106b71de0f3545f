"""Radicale with the client library caldav, which speaks HTTP/2 through niquests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import caldav
import pytest
from caldav.lib.error import AuthorizationError, NotFoundError

BEGIN = datetime(2031, 5, 1, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def site(serve):
    return serve("calendars")


def connect(site, password: str = "secret") -> caldav.DAVClient:
    return caldav.DAVClient(
        f"{site.url}/", username="eva", password=password, ssl_verify_cert=site.ca_file
    )


def test_events_are_kept_found_changed_and_removed(site):
    with connect(site) as client:
        calendar = client.principal().make_calendar(name="Work")
        assert [known.get_display_name() for known in client.principal().calendars()] == ["Work"]
        event = calendar.save_event(
            dtstart=BEGIN, dtend=BEGIN + timedelta(hours=1), summary="Tea with Zoë"
        )
        calendar.save_event(
            dtstart=BEGIN, dtend=BEGIN + timedelta(hours=2), summary="Weekly",
            rrule={"FREQ": "WEEKLY"},
        )  # fmt: skip
        day = {"start": BEGIN + timedelta(days=14), "end": BEGIN + timedelta(days=15)}
        (later,) = calendar.search(event=True, expand=True, **day)
        assert later.icalendar_component["summary"] == "Weekly"
        event.icalendar_component["summary"] = "Coffee"
        event.save()
        (found,) = calendar.search(event=True, summary="Coffee")
        assert found.id == event.id
        todo = calendar.save_todo(summary="Wash up", due=BEGIN)
        assert [one.id for one in calendar.todos()] == [todo.id]
        event.delete()
        with pytest.raises(NotFoundError):
            calendar.event_by_uid(event.id)
        calendar.delete()
        assert client.principal().calendars() == []
    protocols = {line["protocol"] for line in site.accesses()}
    assert protocols == {"HTTP/2"}


def test_many_events_come_whole(site):
    with connect(site) as client:
        calendar = client.principal().make_calendar(name="Many")
        for number in range(30):
            begin = BEGIN + timedelta(days=number)
            calendar.save_event(
                dtstart=begin, dtend=begin, summary=f"{number}", description="x" * 10_000
            )
        summaries = {event.icalendar_component["summary"] for event in calendar.events()}
        assert summaries == {str(number) for number in range(30)}


def test_a_wrong_password_is_refused(site):
    with connect(site, "wrong") as client, pytest.raises(AuthorizationError):
        client.principal().calendars()
