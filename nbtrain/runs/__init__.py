"""The trainer thread, `Run`, and the queue over devices."""
