"""The tests; the folders mirror worker/."""
