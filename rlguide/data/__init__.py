"""Preference data: fetch -> read -> normalise -> check -> write -> register."""
