"""Which of two responses is preferred: by a judge, and by people."""
