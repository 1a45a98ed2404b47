"""Measure exported models beside each other."""
