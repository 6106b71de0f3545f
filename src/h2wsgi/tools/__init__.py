"""What shows a client's author what the client did, and what makes a server misbehave.

Tools are made on the loop's thread and read on any; faults run on the application's. A server
imports this package only if an option of the group Tools asks for it. One tap for each connection
decodes that connection's octets once. Sinks listen to all taps: the recorder, the traces, the
inspector's ledger.
"""
