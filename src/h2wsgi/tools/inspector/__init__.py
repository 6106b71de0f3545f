"""The inspector: a page on a second loopback port that shows what happens while it happens.

The loop's thread notes frames, application threads note when the application began and returned,
all under one lock. Pages are served on threads of their own, by the standard library's HTTP/1.1
server, since browsers speak no cleartext HTTP/2. Only ``--inspect`` imports this package.
"""
