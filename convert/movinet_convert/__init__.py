"""Export MoViNet weights to TFLite with explicit states."""
