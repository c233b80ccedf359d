"""What the product promises, shown on a real server through the official SDK."""
