"""What shows or provokes things: tools for those who test clients. Application threads, mostly.

Nothing of it is imported unless it is asked for.
"""
