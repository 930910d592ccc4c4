"""The companions: other programs that share the words."""
