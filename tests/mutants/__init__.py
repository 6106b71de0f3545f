"""Samples mutants of the server: small mistakes, each of which some test should notice."""
