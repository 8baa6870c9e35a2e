"""From what PyTorch users hold to batches."""

from nbtrain.data.batches import Batches, Notes
from nbtrain.data.prepare import Prepared, prepare

__all__ = ["Batches", "Notes", "Prepared", "prepare"]
