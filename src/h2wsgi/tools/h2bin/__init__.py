"""A WSGI application whose endpoints show HTTP/2 to a client, good and bad. Application threads.

Everything that it does to streams and connections goes by ``environ["h2wsgi.stream"]``.
"""
