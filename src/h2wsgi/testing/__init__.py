"""For tests of clients: fixtures for pytest and the server they give. The test's own thread."""
