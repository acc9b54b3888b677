"""Running attempts: who owns what, and how all die together."""
