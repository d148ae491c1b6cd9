"""Dates and times of the rules: closed days, due dates, service windows, limits of waiting."""
