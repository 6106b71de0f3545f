"""The process itself: clocks, forks, signals, shares. Any thread; imports nothing else."""
