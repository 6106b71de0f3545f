"""``Server.connections`` and ``Server.requests``. Written on the loop's thread, read on any."""
