"""Storage elements: places where files lie."""
