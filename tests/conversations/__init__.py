"""Conversations to hold with an engine: recorded from real clients, and made up."""
