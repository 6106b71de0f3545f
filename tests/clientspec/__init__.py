"""The conformance suite for clients: that it judges, and judges rightly."""
