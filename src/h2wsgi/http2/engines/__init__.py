"""Engines: RFC 9113's state, windows and HPACK behind one interface. Loop thread only."""
