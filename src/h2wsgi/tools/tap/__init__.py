"""What a connection's octets say, decoded beside the engine. The loop's thread."""
