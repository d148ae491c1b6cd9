"""The desk answers an ask with an outcome; it knows no protocol."""
