"""The words: pure types, state tables and rules. No clock, no await, no I/O."""
