"""The engines against each other, and the fast one's HPACK against the library's."""
