"""From what PyTorch users hold to batches."""
