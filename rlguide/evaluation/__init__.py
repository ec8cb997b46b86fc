"""Did it get better? Preference accuracy and margins against the SFT reference."""
