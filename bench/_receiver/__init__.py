"""Parts of the receiver's benchmark: the sender, the bare server and the raw inserts, each a process of its own."""
