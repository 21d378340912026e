"""Unsupervised nets as transformers: one training loop, RotNet and SimCLR."""
