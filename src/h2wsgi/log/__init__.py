"""Events, requests and ``wsgi.errors`` on their way to files. Any thread may log; one writes."""
