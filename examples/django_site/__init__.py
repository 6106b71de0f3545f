"""Django: JSON, an upload through a temporary file, a streamed table, and its own host check.

Run it from the repository root:

    h2wsgi --app-dir examples django_site.wsgi:application

/          JSON
/upload    POST a form with a file: answers with size and SHA-256
/rows.csv  a table of any length, made while it is sent; ?rows=N

A request for another host than those in ALLOWED_HOSTS (settings.py) is answered 400 by Django.
"""
