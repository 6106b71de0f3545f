"""HTTP/2 (RFC 9113) on one connection. Everything in this package runs on the loop's thread.

Workers reach it only through :mod:`h2wsgi.seam.stream` and :mod:`h2wsgi.seam.handover`.
"""
