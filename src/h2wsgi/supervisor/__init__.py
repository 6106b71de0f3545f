"""Processes that serve side by side: started, replaced, ended. The main thread of a process that
serves nothing itself.

The supervisor knows neither the application nor HTTP/2, so little can go wrong in it.
"""
