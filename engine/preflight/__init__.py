"""`--dry-run`: what a long run would stumble over, found in under a minute."""
