"""Will it fit, how long will it take, and which setting is the fastest that fits."""
