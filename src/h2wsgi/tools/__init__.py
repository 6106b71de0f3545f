"""What shows a client's author what the client did, and what makes a server misbehave.

Made on the loop's thread, read on any; faults on the application's. A server imports this only if
one of the options of the group Tools asks for it. One tap for each connection decodes its octets
once, on its own; sinks listen to all taps: the recorder, the trace, the
inspector's ledger.
"""
