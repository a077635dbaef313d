"""One module per AWS resource; each operation is declared once."""
