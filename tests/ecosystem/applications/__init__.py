"""What is served: applications as their users write them, small."""
