"""THE SEAM between the loop's thread and the application's threads.

What both sides know of a request and its connection, and how one has something done on the other.
Imports neither ``http2`` nor ``wsgi``, and asyncio in ``mailbox`` alone.
"""
