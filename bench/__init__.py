"""Figures as ratios, each measured in one run against a named peer or limit."""
