"""What plugins are made of."""
