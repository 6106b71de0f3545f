"""What shows what a client did, or makes things go wrong for it: for authors of clients.

A server imports this only if one of the options of the group Tools asks for it. One tap for each
connection decodes its octets once, on the loop's thread; sinks listen to all taps: the recorder,
the trace. Faults and h2bin run on application threads.
"""
