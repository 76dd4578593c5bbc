"""Model cards, dataset cards and reference checkpoints."""
