"""Live servers and what their clients see of them: raw peers, mostly over TLS."""
