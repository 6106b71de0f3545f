"""Raise at every line of the seam, and see that the server holds: see README.md."""
