"""The inspector: a page on a second loopback port that shows what happens while it happens.

What is seen is noted on the loop's thread (frames) and on application threads (when the application
began and returned), under one lock; pages are served on threads of their own, by the standard
library's HTTP/1.1 server, since browsers speak no cleartext HTTP/2. Only ``--inspect`` imports it.
"""
