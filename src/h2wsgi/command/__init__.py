"""The command line, the environment and files -> options. Main thread, before a server runs."""
