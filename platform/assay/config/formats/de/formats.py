"""German pages write numbers as the papers and tables of this field do: with a decimal point.

A comma would also reach the coordinates of pictures and the attributes that scripts read.
"""

DECIMAL_SEPARATOR = "."
THOUSAND_SEPARATOR = "\N{NARROW NO-BREAK SPACE}"
