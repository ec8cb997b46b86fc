"""What every HTTP client here has in common: what is tried again, how long is waited, and what a fault is called."""
