"""PEP 3333 on top of the stream seam. Everything in this package runs on application threads.

Imports neither asyncio nor h2, and nothing of ``h2wsgi.http2``.
"""
