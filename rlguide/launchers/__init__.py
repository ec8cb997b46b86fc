"""Where a training runs: on this host, on several nodes over ssh, in a Slurm job, or on a Ray cluster."""
