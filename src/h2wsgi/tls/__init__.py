"""Certificates, keys and contexts. Used before the loop's thread begins; pure except for files."""
