"""The log of each job: written line by line to a spool on disk, kept as one object in a store."""
