"""What is written beside the source: README, pages, recipes, examples, and the bench's results."""
