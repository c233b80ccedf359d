"""What comes in at the door: validated, exact, and in the form in which it is kept."""
