"""What is done with the runs of a workspace: listed, compared, stopped, removed."""
