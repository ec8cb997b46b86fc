"""Roles to examples: how the prompt and the responses of a row are found and judged, or why they are not."""
