"""Templates -> a rendered, commented LLaMA-Factory YAML, checked before anything starts."""
