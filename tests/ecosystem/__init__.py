"""Other people's applications with their real clients; ``python -m ecosystem`` runs them."""
