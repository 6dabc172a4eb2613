"""`sfgkeras convert`: data and INI files of other kinds as ours, and back; both names say what is converted."""
