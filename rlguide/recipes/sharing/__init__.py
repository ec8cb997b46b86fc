"""How processes share a training (DDP, FSDP2, ZeRO-2, ZeRO-3), as keys of a config; and what cannot be shared."""
