"""--metrics: what a server counts, for Prometheus, and whether it is alive. Threads of its own."""
