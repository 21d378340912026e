"""Linear members of all partitions."""
