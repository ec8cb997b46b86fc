"""Hugging Face and ModelScope: revisions, files, sessions, retries."""
