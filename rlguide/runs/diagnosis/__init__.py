"""What is wrong with a training, by its figures: findings with their meaning, a setting to change, and a source."""
