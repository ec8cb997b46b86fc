"""A run in a Slurm job: its GPUs (`gpus`), submitting it, training it there (`inside`), ending it (`stop`)."""
