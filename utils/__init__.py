"""What knows nothing of this project and nothing of torch."""
