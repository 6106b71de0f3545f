"""Processes that serve side by side: started, replaced, ended. The main thread of a process that
serves nothing itself.

Knows neither the application nor HTTP/2, so there is little that could go wrong in it.
"""
