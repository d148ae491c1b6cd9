"""Personal data: retention, and finding and erasing one person everywhere."""
