"""What is kept of people, how long, and how one person is found and erased everywhere."""
