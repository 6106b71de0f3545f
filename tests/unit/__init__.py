"""Modules by themselves, without a connection: one file of tests for each, named after it."""
