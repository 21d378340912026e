"""Nets of all partitions trained side by side, each a function of its own rows and seed."""
