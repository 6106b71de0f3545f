"""A WSGI application whose endpoints show HTTP/2 to a client, good and bad. Application threads.

All that the endpoints do to streams and connections goes through ``environ["h2wsgi.stream"]``.
"""
