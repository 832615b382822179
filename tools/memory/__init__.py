"""What `tools/memory_table.py` is made of: recipes, rows, planning, and the tables."""
