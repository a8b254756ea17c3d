"""The libraries that decode, one a file: each is called here and nowhere else."""
