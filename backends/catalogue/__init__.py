"""Catalogues: places where datasets are booked."""
