"""What a server is told to do: options, addresses, rules. Pure; any thread.

Imports nothing of the package but errors, codes and process.
"""
