"""``--trace`` and ``--trace-file``: frames as lines. The loop's thread."""
