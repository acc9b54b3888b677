"""What the benchmark of job logs needs besides the program."""
