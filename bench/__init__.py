"""Measure h2wsgi and its peers side by side: ``python -m bench`` (bench/README.md)."""
