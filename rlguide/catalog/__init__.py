"""What the guide knows, as YAML: datasets, hyperparameters (value, range, why), each fact with its source."""
