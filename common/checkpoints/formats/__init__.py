"""One file a format, with what reads it and what writes it; the table of what each can hold is one room up."""
