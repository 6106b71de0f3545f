"""A long mixed load, and a look at what it leaves in the server. See README.md."""
