"""What operators open: health and metrics."""
