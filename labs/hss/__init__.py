"""The lab's HSS: Cx on python-diameter, Milenage and SQLite."""
