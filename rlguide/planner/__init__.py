"""Will it fit, how long will it take, which setting is the fastest that fits."""
