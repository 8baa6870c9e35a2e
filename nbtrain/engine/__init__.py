"""The loop and all that it steers."""
