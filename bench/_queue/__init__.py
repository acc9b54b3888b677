"""The parts of the queue's benchmark: a server, ways to fill it, the raw limit, and our own worker measured."""
