"""Definitions compared: what ctags says, and what is made of the differences."""
