"""What the tests share. Only what compares the engines imports the server.

The only tests here are those of the raw client, `peer.py`, itself.
"""
