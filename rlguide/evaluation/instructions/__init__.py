"""Does a model follow instructions? Bundled prompts whose instructions a program can verify, and the verifiers."""
