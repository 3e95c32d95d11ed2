"""Arrow schemas of the tables, and conversion between records and rows."""
