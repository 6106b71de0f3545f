"""What the tests share: clients, judges of what servers do, and parts of a server to test.

The only tests here are those of the raw client, `peer.py`, itself.
"""
