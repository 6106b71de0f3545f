"""A server put together and run: sockets, connections, applications. The loop's thread.

Knows every package below it, and none of them knows this one.
"""
