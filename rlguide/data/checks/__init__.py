"""What is bad in any text or example, whatever format it came in."""
