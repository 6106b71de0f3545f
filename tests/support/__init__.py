"""What the tests share: no test lives here, and nothing here imports the server."""
