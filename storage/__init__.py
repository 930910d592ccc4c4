"""What is remembered: all SQL lives here."""
