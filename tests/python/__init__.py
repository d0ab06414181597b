"""Readers of the format in Python, and every face of cmkit against the others."""
