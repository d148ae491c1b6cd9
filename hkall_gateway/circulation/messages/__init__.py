"""Commands to the desk and their results: records only, without imports of the desk."""
