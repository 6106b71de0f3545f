"""A fuzzer of the server's protocol, on both engines; README.md says how to run it."""
