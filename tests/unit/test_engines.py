"""What engines answer about streams that they do not know, or no longer; sizes of sections."""

from __future__ import annotations

import pytest
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.codes import FLAG_END_HEADERS, FLAG_END_STREAM, HEADERS
from h2wsgi.config.config import Config
from h2wsgi.http2.engines import make_engine
from h2wsgi.http2.engines.fast import _most_octets
from h2wsgi.http2.engines.hpack import encode
from h2wsgi.http2.fields import section_size
from h2wsgi.seam.handover import Head
from support.engines import Recorder

REQUEST = b"\x82\x87\x84\x41\x01a"


@pytest.mark.parametrize("name", ["fast", "h2"])
def test_a_response_on_a_stream_that_is_not_open_is_not_sent(name: str) -> None:
    recorder = Recorder((0,))
    engine = recorder.engine = make_engine(recorder, Config.build(engine=name))
    engine.start()
    flags = FLAG_END_HEADERS | FLAG_END_STREAM
    engine.receive_frame(HEADERS, flags, 1, REQUEST)
    engine.receive_frame(HEADERS, flags, 3, b"\x82\x87\x84\xbe")
    engine.reset_stream(3, 8)
    engine.data_to_send()
    head = Head(200)
    for stream_id in (3, 5):
        assert not engine.send_response(stream_id, head, b"content")
        assert not engine.data_to_send()
    assert engine.send_response(1, head, b"content")
    assert engine.data_to_send()
    assert not engine.send_response(1, head, b"content")
    assert not engine.data_to_send()


@given(
    st.lists(
        st.one_of(
            st.sampled_from(sorted(set(HeaderTable.STATIC_TABLE))),
            st.tuples(
                st.sampled_from(sorted({name for name, _ in HeaderTable.STATIC_TABLE}))
                | st.binary(max_size=20),
                st.binary(max_size=200) | st.integers(0, 300).map(b"a".__mul__),
            ),
        )
    )
)
def test_no_section_has_more_octets_than_the_fast_engine_takes_it_to_have(fields):
    assert section_size(fields) <= _most_octets(Head(0, fields), encode(fields))
