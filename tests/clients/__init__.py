"""Programs that are clients, and what they were recorded to do."""
