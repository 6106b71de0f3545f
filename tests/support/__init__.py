"""What the tests share: no test lives here. Only what compares the engines imports the server."""
