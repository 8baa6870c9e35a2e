"""The journal, the history, the catalog of runs and their leases. No PyTorch here."""
