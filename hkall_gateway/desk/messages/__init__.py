"""What may be asked of the desk, and what it answers. A leaf: records alone."""
