"""Many files at once: what is in them, and what is worth a look."""
