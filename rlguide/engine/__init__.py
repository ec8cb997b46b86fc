"""The engine wall: the only room that knows LLaMA-Factory: find it, probe it, launch it, read its output."""
