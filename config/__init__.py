"""What may be set: structs, loader and the commented example."""
