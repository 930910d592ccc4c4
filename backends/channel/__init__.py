"""Channels: how commands and small files reach a host."""
