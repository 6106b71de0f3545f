"""What the operating system's process is to all the rest: forks. Any thread; imports nothing."""
